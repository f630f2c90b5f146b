use std::collections::{BTreeMap, BTreeSet};

/// The free bytes of memory that is handed out in runs. Neighbours become one run when they are returned.
///
/// It knows numbers, not the memory.
#[derive(Debug, Default)]
pub struct FreeRuns {
    by_start: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
}

impl FreeRuns {
    /// `len` bytes, all of them free.
    pub fn whole(len: usize) -> Self {
        let mut runs = Self::default();
        runs.insert(0, len);
        runs
    }

    /// Takes `len` bytes from the smallest run that has them, and returns their start.
    pub fn take(&mut self, len: usize) -> Option<usize> {
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        Some(start)
    }

    /// Returns a run.
    pub fn give(&mut self, start: usize, len: usize) {
        let (mut start, mut len) = (start, len);
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before + before_len == start
        {
            self.remove(before, before_len);
            (start, len) = (before, before_len + len);
        }
        if let Some(&after_len) = self.by_start.get(&(start + len)) {
            self.remove(start + len, after_len);
            len += after_len;
        }
        self.insert(start, len);
    }

    /// Bytes of the largest run.
    pub fn largest(&self) -> usize {
        self.by_len.last().map_or(0, |(len, _)| *len)
    }

    fn insert(&mut self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_in_every_order() {
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut runs = FreeRuns::whole(300);
            let starts = [0, 1, 2].map(|_| runs.take(100).unwrap());
            assert_eq!(runs.take(1), None);
            order.iter().for_each(|&at| runs.give(starts[at], 100));
            assert_eq!(runs.largest(), 300, "{order:?}");
        }
    }

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut runs = FreeRuns::whole(1000);
        let [a, _b, c, _d] = [200, 10, 50, 10].map(|len| runs.take(len).unwrap());
        runs.give(a, 200);
        runs.give(c, 50);
        assert_eq!(runs.take(40), Some(c));
    }
}
