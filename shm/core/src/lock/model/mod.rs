//! The lock's algorithm as a model: every interleaving of a few processes, each of which may die at every step.
//!
//! A step is one access to a shared word or one operation on a mutex, in the order of the files beside this folder; where
//! those change, this changes. [`steps`] and the files it calls have the steps, [`check`] what may never be, [`explore`]
//! the search, [`cases`] who meets whom, and [`faults`] locks that are wrong, of which each must be found.
//!
//! What the model leaves out: words for reports, the note that a thread waits (no step depends on it), the second lock of a
//! table, and weak memory, which `tests/loom` has. A process sleeps until what it waits for has happened: the real one is
//! woken or looks again, every 4 ms at the latest.

mod cases;
mod check;
mod drain;
mod explore;
mod faults;
mod owner;
mod reader;
mod state;
mod steps;
mod worker;
mod writer;
