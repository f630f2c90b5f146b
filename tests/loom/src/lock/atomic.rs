//! Loom's atomics, with sequentially consistent operations. Loom has only fences of that kind: an operation here has one, a
//! load before it, everything else behind it.
//!
//! And each operation passes its word's turnstile first. Loom decides by the last access to a word alone whether a step may
//! change places with an earlier one: a thread that looks at a word and then changes it hides, by its own look, an earlier
//! look of another thread, and the orders in which it comes before that are never visited. A reader does so with its bit,
//! and a committer with the number of commits. A store to the turnstile is in conflict with every other.

use std::sync::atomic::Ordering;

use loom::sync::atomic as loomed;

pub(crate) const HOLDS: usize = 1;
pub(crate) const MOST_RECORDS: usize = 64;

fn fence_if(order: Ordering) {
    if order == Ordering::SeqCst {
        loomed::fence(order);
    }
}

macro_rules! atomics {
    ($($name:ident: $word:ty),*) => {$(
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            word: loomed::$name,
            turnstile: loomed::AtomicBool,
        }

        impl $name {
            fn word(&self) -> &loomed::$name {
                self.turnstile.store(true, Ordering::Relaxed);
                &self.word
            }

            pub(crate) fn load(&self, order: Ordering) -> $word {
                fence_if(order);
                self.word().load(order)
            }

            pub(crate) fn store(&self, word: $word, order: Ordering) {
                self.word().store(word, order);
                fence_if(order);
            }

            pub(crate) fn swap(&self, word: $word, order: Ordering) -> $word {
                let old = self.word().swap(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_add(&self, word: $word, order: Ordering) -> $word {
                let old = self.word().fetch_add(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_or(&self, word: $word, order: Ordering) -> $word {
                let old = self.word().fetch_or(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_and(&self, word: $word, order: Ordering) -> $word {
                let old = self.word().fetch_and(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $word,
                to: $word,
                order: Ordering,
                failed: Ordering,
            ) -> Result<$word, $word> {
                let result = self.word().compare_exchange(from, to, order, failed);
                fence_if(order);
                result
            }
        }
    )*};
}

atomics!(AtomicU32: u32, AtomicU64: u64);
