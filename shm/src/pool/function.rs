use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pool::encoded::Encoded;

/// A function that workers run. It has one to four arguments, and they and the result can be sent: they are `Serialize`
/// and `Deserialize`.
///
/// The name of its type is its name: pass a `fn` item, not a closure with captures or a function pointer.
pub trait TaskFunction<Arguments>: Send + Sync + 'static {
    /// What it returns.
    type Output;

    /// Calls it.
    fn call(&self, arguments: Arguments) -> Self::Output;
}

macro_rules! tasks {
    ($(($($argument:ident),+))*) => {
        $(impl<F, R, $($argument),+> TaskFunction<($($argument,)+)> for F
        where
            F: Fn($($argument),+) -> R + Send + Sync + 'static,
        {
            type Output = R;

            #[expect(non_snake_case, reason = "each argument is named as its type")]
            fn call(&self, ($($argument,)+): ($($argument,)+)) -> R {
                self($($argument),+)
            }
        })*
    };
}

tasks! { (A) (A, B) (A, B, C) (A, B, C, D) }

/// The functions that the workers of a program can run.
///
/// A program calls [`serve`](Self::serve) with them first in `main`: its workers are the same program, started again, and
/// begin to work there.
///
/// ```
/// use numpush_shm::{Error, Pool, Tasks};
///
/// fn half(number: u64) -> Result<u64, Error> {
///     Ok(number / 2)
/// }
///
/// fn add(left: u64, right: u64) -> u64 {
///     left + right
/// }
///
/// Tasks::new().with(half).with(add).serve();
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.apply(half, (84,))??, 42);
/// assert_eq!(pool.starmap(add, [(1, 2), (3, 4)])?, [3, 7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Tasks {
    pub(super) by_name: HashMap<&'static str, Erased>,
}

/// A function from the bytes of its arguments to those of its result.
pub(super) type Erased = Box<dyn Fn(&[u8]) -> Result<Encoded, String> + Send + Sync>;

/// The name of a function, the same in the pool and in its workers.
pub(super) fn name_of<F>() -> &'static str {
    const {
        assert!(
            size_of::<F>() == 0,
            "a task is a function item: a pointer or a capture does not reach a worker"
        );
    }
    std::any::type_name::<F>()
}

impl Tasks {
    /// No functions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function.
    ///
    /// # Panics
    /// If there is a function of that name already, for example if two closures are made in one function.
    #[must_use]
    pub fn with<A, F>(mut self, task: F) -> Self
    where
        A: DeserializeOwned,
        F: TaskFunction<A>,
        F::Output: Serialize,
    {
        let name = name_of::<F>();
        let erased: Erased = Box::new(move |bytes| {
            let arguments: A = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
            Encoded::of(&task.call(arguments))
        });
        assert!(
            self.by_name.insert(name, erased).is_none(),
            "two tasks are called {name}"
        );
        self
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}
