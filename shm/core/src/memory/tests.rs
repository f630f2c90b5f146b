use super::*;
use crate::lock::{LockOptions, OwnedLock};
use numpush_os::{add_seals, allocate};
use std::io::Write as _;

fn pages() -> Arc<SharedPages> {
    SharedPages::new(8192, PageOptions::default()).unwrap()
}

#[test]
fn bytes_have_one_owner() {
    let pages = pages();
    let first = pages.take_exclusive(0..128).unwrap();
    assert!(pages.take_exclusive(64..192).is_err());
    assert!(pages.take_exclusive(127..128).is_err());
    let block = OwnedLock::new().unwrap();
    assert!(pages.join_locked(0..128, block.lock()).is_err());
    let (left, right) = first.split(64);
    drop(left);
    assert!(pages.take_exclusive(0..64).is_ok());
    assert!(pages.take_exclusive(0..65).is_err());
    drop(right);
    assert!(pages.take_exclusive(0..8192).is_ok());
    assert!(pages.take_exclusive(0..8193).is_err());
}

#[test]
fn an_empty_range_leaves_its_neighbour_alone() {
    let pages = pages();
    let _owner = pages.take_exclusive(64..128).unwrap();
    drop(pages.take_exclusive(64..64).unwrap().split(0));
    assert!(pages.take_exclusive(64..128).is_err());
}

#[test]
fn memory_of_another_maker_has_no_owner_here() {
    let memory = allocate(8192, "t").unwrap();
    add_seals(&memory, SEALS).unwrap();
    let pages = SharedPages::attach(memory).unwrap();
    assert!(pages.take_exclusive(0..64).is_err());
    let lock = OwnedLock::new().unwrap();
    let locked = pages.join_locked(0..64, lock.lock()).unwrap();
    assert!(locked.into_owned().is_err());
}

/// Two types that lend bytes of one memory would lend one byte twice.
#[test]
fn memory_that_is_lent_for_writing_is_not_attached() {
    let mut memory = numpush_os::Memfd::new(8192).unwrap().lend().unwrap();
    let sent = memory.descriptor().try_clone().unwrap();
    let error = SharedPages::attach(sent).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    memory.write(0..8192).unwrap().fill(1);
    // Not even with the seals of shared pages.
    add_seals(memory.descriptor(), SEALS).unwrap();
    let sent = memory.descriptor().try_clone().unwrap();
    let error = SharedPages::attach(sent).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn shared_pages_are_not_lent_without_a_lock() {
    let pages = pages();
    let mut owner = pages.take_exclusive(0..8192).unwrap();
    let against_writing = SealFlag::from_bits_retain(libc::F_SEAL_FUTURE_WRITE);
    for seal in [against_writing, SealFlag::F_SEAL_WRITE] {
        assert!(add_seals(pages.descriptor(), seal).is_err());
    }
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let peer = numpush_os::peer_credentials(&one).unwrap();
    let lent = numpush_os::PeerMapping::new(pages.descriptor(), &peer.same_user().unwrap());
    assert_eq!(lent.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    owner.bytes_mut().fill(1);
}

#[test]
fn a_lock_guards_its_bytes_only() {
    let pages = pages();
    let (block, other) = (OwnedLock::new().unwrap(), OwnedLock::new().unwrap());
    let guarded = pages
        .take_exclusive(0..64)
        .unwrap()
        .into_locked(block.lock());
    let again = pages.join_locked(0..64, block.lock()).unwrap();
    assert!(pages.join_locked(0..64, other.lock()).is_err());
    let mut held = block.lock().write(LockOptions::default()).unwrap();
    guarded.bytes_mut(&mut held)[0] = 7;
    assert_eq!(again.bytes_exclusive(&held)[0], 7);
    assert!(guarded.into_owned().is_err(), "still joined");
    drop(held);
    drop(again);
}

#[test]
#[should_panic = "the lock of other bytes"]
fn another_lock_opens_nothing() {
    let pages = pages();
    let (block, other) = (OwnedLock::new().unwrap(), OwnedLock::new().unwrap());
    let guarded = pages
        .take_exclusive(0..64)
        .unwrap()
        .into_locked(block.lock());
    guarded.bytes(&other.lock().read(LockOptions::default()).unwrap());
}

#[test]
fn a_reader_keeps_its_commit() {
    let pages = pages();
    let block = OwnedLock::new().unwrap();
    let pair = pages
        .take_exclusive(0..128)
        .unwrap()
        .into_double(block.lock());
    let commit = |value: u8| {
        let mut held = block.lock().commit(LockOptions::default())?;
        pair.both(&mut held).1.fill(value);
        held.publish();
        Ok::<_, crate::lock::LockError>(())
    };
    commit(1).unwrap();
    std::thread::scope(|scope| {
        let held = block.lock().read(LockOptions::default()).unwrap();
        let seen = pair.bytes(&held);
        scope.spawn(|| commit(2).unwrap()).join().unwrap();
        assert_eq!(seen[0], 1, "the second commit went to the other buffer");
        assert_eq!(pair.bytes(&held)[0], 1, "a hold reads one commit");
        drop(held);
        let held = block.lock().read(LockOptions::default()).unwrap();
        assert_eq!(pair.bytes(&held)[0], 2);
    });
}

#[test]
fn the_same_memory_is_mapped_once() {
    let pages = pages();
    let again = SharedPages::attach(pages.descriptor().try_clone().unwrap()).unwrap();
    assert!(Arc::ptr_eq(&pages, &again));
}

#[test]
fn huge_pages_are_asked_for_and_never_required() {
    for huge in [HugePages::System, HugePages::Advise, HugePages::Reserved] {
        let pages = SharedPages::new(
            4 << 20,
            PageOptions {
                huge,
                ..PageOptions::default()
            },
        )
        .unwrap();
        println!(
            "{huge:?}: {} bytes in huge pages",
            pages.huge_bytes().unwrap()
        );
        assert!(pages.huge_bytes().unwrap() <= 4 << 20);
        pages
            .take_exclusive(0..4 << 20)
            .unwrap()
            .bytes_mut()
            .fill(1);
        // Another process maps it as well.
        drop((
            SharedPages::attach(pages.descriptor().try_clone().unwrap()).unwrap(),
            pages,
        ));
    }
}

#[test]
fn a_node_is_preferred_where_there_are_nodes() {
    let on = |node| {
        SharedPages::new(
            1 << 20,
            PageOptions {
                node: NodePolicy::Node(node),
                ..PageOptions::default()
            },
        )
    };
    match on(0) {
        Ok(pages) => pages
            .take_exclusive(0..1 << 20)
            .unwrap()
            .bytes_mut()
            .fill(1),
        Err(error) => {
            // Past the harness, which hides what a test prints that does not fail.
            let _ = writeln!(io::stderr(), "NOT RUN: this kernel has no NUMA: {error}");
        }
    }
    assert_eq!(on(64).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn populated_pages_are_zeros_and_all_there() {
    let len = 96 << 20;
    let pages = SharedPages::new(len, PageOptions::new().populate(true)).unwrap();
    assert_eq!(pages.resident(&(0..len)).unwrap(), len);
    let mut owner = pages.take_exclusive(0..len).unwrap();
    assert!(
        owner
            .bytes_mut()
            .iter()
            .step_by(4096)
            .all(|&byte| byte == 0)
    );
}

#[test]
fn memory_is_interleaved_on_any_machine() {
    let options = PageOptions::new().node(NodePolicy::Interleave);
    let pages = SharedPages::new(1 << 20, options).unwrap();
    // Memory with a page that is not allocated has no such length.
    assert_eq!(sealed_len(pages.descriptor(), SEALS).unwrap(), 1 << 20);
}
