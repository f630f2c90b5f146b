//! Numbers that are not used twice, and what they stand for.

use std::fmt;

/// A connection or a listener of a [`Poller`](crate::Poller). It never means another one later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    generation: u32,
    index: u32,
}

impl Key {
    /// The number under which the kernel reports it.
    pub(super) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn of(token: u64) -> Self {
        let low = token & u64::from(u32::MAX);
        Self {
            generation: u32::try_from(token >> 32).unwrap_or(u32::MAX),
            index: u32::try_from(low).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}.{})", self.index, self.generation)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Values by key: every operation takes the same time, however many there are.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
    /// Index of the first slot: tables with other ones have other keys.
    base: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The last generation of a slot, which is not used again after it.
const LAST: u32 = u32::MAX - 1;

impl<T> Slots<T> {
    pub(super) fn new(base: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
            base,
        }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        let free = self.free.pop();
        let index = free.unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
            // A process has far fewer descriptors than this type has numbers.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        self.len += 1;
        Key {
            generation: slot.generation,
            index: self.base + index,
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(self.at(key)?)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let at = self.at(key)?;
        let slot = self.slots.get_mut(at)?;
        let is_it = slot.generation == key.generation;
        slot.value.as_mut().filter(|_| is_it)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let at = self.at(key)?;
        let slot = self.slots.get_mut(at)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation += 1;
        self.len -= 1;
        if slot.generation < LAST {
            self.free.push(key.index - self.base);
        }
        Some(value)
    }

    fn at(&self, key: Key) -> Option<usize> {
        key.index.checked_sub(self.base).map(|at| at as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let numbered = (self.base..).zip(&self.slots);
        numbered.filter_map(|(index, slot)| {
            let generation = slot.generation;
            let key = Key { generation, index };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.slots.drain(..).filter_map(|slot| slot.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_means_another_value() {
        let mut slots = Slots::new(1 << 31);
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        let c = slots.insert('c');
        assert_eq!((slots.get(a), slots.get(b)), (None, Some(&'b')));
        assert_eq!((slots.remove(a), slots.get_mut(c)), (None, Some(&mut 'c')));
        assert_eq!(Key::of(c.token()), c);
        assert_eq!((slots.len(), slots.iter().count()), (2, 2));
        assert_eq!(Slots::<char>::new(0).get(c), None);
    }
}
