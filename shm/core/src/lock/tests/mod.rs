mod lives;
mod parts;
mod waits;

use crate::lock::Division;

fn halves() -> Division {
    Division::new([(0, 2)], 1).unwrap()
}
