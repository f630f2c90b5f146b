//! The lock's algorithm as a model: every interleaving of a few processes, each of which may die at every step.
//!
//! A step is one access to a shared word or one operation on a mutex, in the order of the files beside this folder; where
//! those change, this changes. [`steps`] and the files it calls have the steps, [`check`] what may never be, [`explore`]
//! the search, [`cases`] who meets whom, and [`faults`] locks that are wrong, of which each must be found.
//!
//! What the model leaves out: words for reports, the note that a thread waits (no step depends on it), the second lock of a
//! table, and weak memory, which `tests/loom` has. Who waits for a mutex goes on when it is free. Who waits for a hold sleeps
//! until it is woken, and may be killed or woken without a reason before that; it needs no look at a clock to come to an end.

mod cases;
mod check;
mod drain;
mod explore;
mod faults;
mod owner;
mod reader;
mod sleep;
mod state;
mod steps;
mod worker;
mod writer;
