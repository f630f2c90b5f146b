//! Memory with a name, shared with the crate `shared_memory`, both ways.
#![expect(
    unsafe_code,
    reason = "that crate lends its memory by a pointer, and ours is opened on trust"
)]

use numpush::shm::{NamedError, NamedMemory};
use shared_memory::{Shmem, ShmemConf};

fn open(name: &str) -> Result<NamedMemory, NamedError> {
    // SAFETY: nobody truncates it.
    unsafe { NamedMemory::open(name) }
}

fn name(of: &str) -> String {
    format!("test-crate-{of}-{}", std::process::id())
}

fn word(memory: &Shmem, at: usize) -> *mut u64 {
    let len = memory.len() / size_of::<u64>();
    assert!(at < len, "word {at} of {len}");
    // SAFETY: inside the memory, by the check above.
    unsafe { memory.as_ptr().cast::<u64>().add(at) }
}

#[test]
fn the_crate_opens_what_we_made() {
    let ours = NamedMemory::create(&name("ours"), 4096).unwrap();
    let cells = ours.cells::<u64>().unwrap();
    cells[3].set(7);
    let theirs = ShmemConf::new().os_id(ours.name()).open().unwrap();
    assert_eq!(theirs.len(), 4096);
    // SAFETY: mapped, and nobody writes it now.
    assert_eq!(unsafe { word(&theirs, 3).read_volatile() }, 7);
    // SAFETY: mapped, and nobody reads it now.
    unsafe { word(&theirs, 4).write_volatile(9) };
    assert_eq!(cells[4].get(), 9);
    drop(theirs);
    assert!(open(ours.name()).is_ok(), "the name is its maker's");
}

#[test]
fn we_open_what_the_crate_made() {
    let full = format!("np.{}", name("theirs"));
    let theirs = ShmemConf::new().os_id(&full).size(8192).create().unwrap();
    // SAFETY: mapped, and nobody reads it now.
    unsafe { word(&theirs, 1000).write_volatile(5) };
    let ours = open(&full).unwrap();
    assert_eq!(ours.len(), 8192);
    assert_eq!(ours.cells::<u64>().unwrap()[1000].get(), 5);
    ours.cells::<u64>().unwrap()[0].set(6);
    // SAFETY: mapped, and nobody writes it now.
    assert_eq!(unsafe { word(&theirs, 0).read_volatile() }, 6);
    drop(theirs);
    assert!(open(&full).is_err(), "the name goes with its maker");
    assert_eq!(
        ours.cells::<u64>().unwrap()[1000].get(),
        5,
        "the memory stays"
    );
}
