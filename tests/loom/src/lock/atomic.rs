//! Loom's atomics, with sequentially consistent operations. Loom has only fences of that kind: an operation here has one, a
//! load before it, everything else behind it.

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
        pub(crate) struct $name(loomed::$name);

        impl $name {
            pub(crate) fn load(&self, order: Ordering) -> $word {
                fence_if(order);
                self.0.load(order)
            }

            pub(crate) fn store(&self, word: $word, order: Ordering) {
                self.0.store(word, order);
                fence_if(order);
            }

            pub(crate) fn swap(&self, word: $word, order: Ordering) -> $word {
                let old = self.0.swap(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_add(&self, word: $word, order: Ordering) -> $word {
                let old = self.0.fetch_add(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_or(&self, word: $word, order: Ordering) -> $word {
                let old = self.0.fetch_or(word, order);
                fence_if(order);
                old
            }

            pub(crate) fn fetch_and(&self, word: $word, order: Ordering) -> $word {
                let old = self.0.fetch_and(word, order);
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
                let result = self.0.compare_exchange(from, to, order, failed);
                fence_if(order);
                result
            }
        }
    )*};
}

atomics!(AtomicU32: u32, AtomicU64: u64);
