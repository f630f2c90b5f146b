use std::time::Duration;

use ndarray::{Array2, ArrayView2, Axis, Ix1, Ix2, IxDyn, array};
use numpush_message::{Array, BufferAllocator as _, Element as _, Encoder, Flags, Limits, Message};
use numpush_shm_core::{LockError, LockOptions};

use crate::arena::Arena;
use crate::array::description::{ArrayDescription, TypedArray};
use crate::array::{DoubleBufferedArray, GrowableArray, SharedArray, SharedDynArray};
use crate::error::Error;
use crate::object::{Describe as _, Handle};

fn arena() -> Arena {
    Arena::new(64 << 20)
}

#[test]
fn elements_are_read_and_written_in_place() {
    let shared = SharedArray::<f64, Ix2>::zeros(&arena(), (3, 4)).unwrap();
    shared.write().unwrap()[[1, 2]] = 7.0;
    *shared.write().unwrap() += 1.0;
    let read = shared.read().unwrap();
    assert_eq!(read[[1, 2]], 8.0);
    assert_eq!(read.sum(), 12.0 + 7.0);
}

#[test]
fn a_landed_message_becomes_an_array_without_a_copy() {
    let mut arena = arena();
    let mut region = arena.allocate(256).unwrap();
    region.as_mut_slice().fill(1);
    let buffer = region.freeze();
    let address = buffer.as_ptr();
    let fortran = Array::with_strides(u16::SCALAR, &[2, 3], &[2, 4], buffer.slice(64..76)).unwrap();
    let message = Message::from(fortran);
    let kept = message.clone();
    drop(buffer);
    let refused = SharedArray::<u16, Ix2>::from_message(message).unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    drop(kept);
    // The same message, once nobody else has its bytes.
    let refused = SharedArray::<f64, Ix2>::try_from(refused.into_value()).unwrap_err();
    assert!(matches!(refused.error(), Error::Dtype { .. }));
    let shared = SharedArray::<u16, Ix2>::from_message(refused.into_value()).unwrap();
    shared.write().unwrap()[[1, 0]] = 5;
    let read = shared.read().unwrap();
    assert_eq!(read.as_ptr().cast::<u8>(), address.wrapping_add(64));
    assert_eq!(read[[1, 0]], 5);
    assert_eq!(read.strides(), [1, 2]);
    drop(read);
    let message = shared.into_message().unwrap();
    assert_eq!(
        message
            .as_array()
            .unwrap()
            .as_ndarray::<u16, Ix2>()
            .unwrap()[[1, 0]],
        5
    );
    drop(message);
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn an_empty_array_is_shared_wherever_it_was_received() {
    let mut arena = arena();
    let none: ArrayView2<'_, f64> = ArrayView2::from_shape((0, 3), &[]).unwrap();
    let sent = Message::from(Array::borrowed(&none).unwrap());
    let record = Encoder::new(&sent, Flags::default()).unwrap().copy_rest();
    let mut region = arena.allocate(record.len()).unwrap();
    region.as_mut_slice().copy_from_slice(&record);
    let received = Message::open(&region.freeze(), &Limits::default()).unwrap();
    for message in [received, sent.into_owned_or_copy()] {
        let shared = SharedArray::<f64, Ix2>::from_message(message).unwrap();
        assert_eq!(shared.read().unwrap().shape(), [0, 3]);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let shared = SharedArray::<f64, Ix2>::zeros(&arena(), (3, 4))
        .unwrap()
        .into_dyn();
    let error = shared.clone().typed::<f32, Ix2>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a shared array of <f8 cannot be used as <f4"
    );
    let error = shared.typed::<f64, Ix1>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a shared array of shape [3, 4] cannot be used with 1 axes"
    );
    assert!(matches!(
        SharedArray::<f64, Ix1>::zeros(&arena(), 1 << 30),
        Err(Error::NoRoom(_))
    ));
    assert!(SharedArray::<f64, Ix2>::zeros(&arena(), (1 << 40, 1 << 40)).is_err());
}

#[test]
fn a_thread_is_not_let_wait_for_itself() {
    let shared = SharedArray::<f64, Ix1>::zeros(&arena(), 4).unwrap();
    let (read, again) = (shared.read().unwrap(), shared.read().unwrap());
    assert_eq!(read.view(), again.view(), "to read twice waits for nobody");
    drop(read);
    assert!(matches!(shared.write(), Err(LockError::WouldDeadlock)));
    drop(again);
    let _write = shared.write().unwrap();
    assert!(matches!(shared.read(), Err(LockError::WouldDeadlock)));
}

#[test]
fn a_timeout_names_the_holder() {
    let shared = SharedArray::<f64, Ix1>::zeros(&arena(), 4).unwrap();
    let _held = shared.write().unwrap();
    let waited = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                shared
                    .read_with(LockOptions::new().timeout(Duration::from_millis(20)))
                    .map(drop)
                    .unwrap_err()
            })
            .join()
            .unwrap()
    });
    let LockError::Timeout {
        holder: Some(holder),
        ..
    } = waited
    else {
        panic!("{waited}")
    };
    assert_eq!(holder.pid, std::process::id());
}

#[test]
fn a_panic_poisons_until_it_is_repaired() {
    let shared = SharedArray::<f64, Ix1>::zeros(&arena(), 4).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = shared.write().unwrap();
        panic!("in the middle");
    }));
    assert!(panicked.is_err());
    let error = shared.read().unwrap_err();
    let LockError::Poisoned(poison) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (poison.cause, poison.dirty),
        (numpush_shm_core::PoisonCause::Panicked, 0..32)
    );
    assert!(shared.read_poisoned().unwrap().poison().is_some());
    drop(shared.write_poisoned().unwrap());
    assert!(shared.write().is_err(), "a guard alone does not clear it");
    let mut guard = shared.write_poisoned().unwrap();
    assert_eq!(guard.poison().count(), 1);
    guard.fill(0.0);
    guard.clear_poison();
    drop(guard);
    assert_eq!(shared.read().unwrap().sum(), 0.0);
}

#[test]
fn rows_with_locks_of_their_own_do_not_exclude_each_other() {
    let shared = SharedArray::<u32, Ix2>::zeros(&arena(), (10, 3))
        .unwrap()
        .with_row_locks(4)
        .unwrap();
    std::thread::scope(|scope| {
        let mut top = shared.write_rows(0..3).unwrap();
        let shared = &shared;
        scope
            .spawn(|| shared.write_rows(7..10).unwrap().fill(2))
            .join()
            .unwrap();
        top.fill(1);
        let busy = scope.spawn(|| {
            shared
                .write_with(LockOptions::new().timeout(Duration::from_millis(10)))
                .is_err()
        });
        assert!(busy.join().unwrap(), "the whole waits for the rows");
    });
    let expected: Array2<u32> = Array2::from_shape_fn((10, 3), |(row, _)| match row {
        0..3 => 1,
        7.. => 2,
        _ => 0,
    });
    assert_eq!(*shared.read().unwrap(), expected);
    assert_eq!(shared.read_rows(2..8).unwrap().shape(), [6, 3]);
    assert!(matches!(shared.read_rows(5..11), Err(Error::Range { .. })));
}

#[test]
fn parts_are_written_at_the_same_time_and_are_the_whole() {
    for axis in [0, 1] {
        let shared = SharedArray::<u64, Ix2>::zeros(&arena(), (5, 7)).unwrap();
        let parts = shared.partition(Axis(axis), 3).unwrap();
        assert_eq!(parts.len(), 3);
        let held: Vec<_> = parts.iter().collect();
        let lens = held.iter().map(|part| part.range(Axis(axis)).len());
        assert_eq!(lens.sum::<usize>(), shared.shape()[axis]);
        // This thread holds the array's lock already.
        assert!(matches!(shared.read(), Err(LockError::WouldDeadlock)));
        drop(parts);
        assert_eq!(held.len(), 3);
        assert_eq!(shared.read().unwrap().sum(), 0);
    }
    let shared = SharedArray::<u64, Ix2>::zeros(&arena(), (5, 7)).unwrap();
    assert!(matches!(
        shared.partition(Axis(2), 2),
        Err(Error::Division { axis: 2, .. })
    ));
    assert!(matches!(
        shared.partition(Axis(0), 0),
        Err(Error::Division { parts: 0, .. })
    ));
}

#[test]
fn parts_may_go_to_any_thread() {
    fn goes<T: Send + Sync>(_: &T) {}
    let shared = SharedArray::<u64, Ix2>::zeros(&arena(), (5, 7)).unwrap();
    let blocks = shared.partition_blocks([2, 9]).unwrap();
    goes(&blocks.iter());
    assert!(blocks.iter().all(|part| {
        goes(&part);
        part.shape()[1] == 1
    }));
    assert_eq!(
        blocks.len(),
        14,
        "an axis of fewer elements has fewer blocks"
    );
    drop(blocks);
    for wrong in [&[2][..], &[2, 0], &[2, 2, 2]] {
        let error = shared.partition_blocks(wrong).unwrap_err();
        assert!(matches!(error, Error::Blocks { .. }), "{error}");
    }
    let both = DoubleBufferedArray::<u64, Ix2>::zeros(&arena(), (5, 7)).unwrap();
    let halves = both.partition(Axis(1), 2).unwrap();
    goes(&halves.iter());
    assert_eq!(halves.part(1).unwrap().halo(1), [0..5, 3..7]);
    // A step that nobody has begun leaves nothing unfinished.
    assert_eq!(halves.finish(), Ok(0));
}

#[test]
fn a_commit_is_seen_whole_and_a_panic_changes_nothing() {
    let shared = DoubleBufferedArray::copy_of(&arena(), &array![1, 2, 3_i64]).unwrap();
    assert_eq!(shared.commit(|next| *next *= 2).unwrap(), 1);
    assert_eq!(*shared.read().unwrap(), array![2, 4, 6]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        shared.commit(|next| {
            next[0] = 99;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(*shared.read().unwrap(), array![2, 4, 6]);
    assert_eq!(shared.commit(|next| *next += 1).unwrap(), 2);
    assert_eq!(*shared.read().unwrap(), array![3, 5, 7]);
}

#[test]
fn an_array_is_opened_by_its_handle_until_it_is_gone() {
    let shared = SharedArray::copy_of(&arena(), &array![1.0, 2.0]).unwrap();
    let handle = shared.handle().unwrap();
    let again = SharedArray::<f64, Ix1>::open(&handle).unwrap();
    again.write().unwrap()[0] = 5.0;
    assert_eq!(shared.read().unwrap()[0], 5.0);
    drop((shared, again));
    assert!(matches!(
        SharedArray::<f64, Ix1>::open(&handle),
        Err(Error::Stale { .. })
    ));
    let nobody: Handle = "shm:numpush-shm.1.0000000000000000/1".parse().unwrap();
    assert!(matches!(
        SharedArray::<f64, Ix1>::open(&nobody),
        Err(Error::Stale { .. })
    ));
}

#[test]
fn an_array_dropped_before_its_parts_poisons_no_other() {
    let arena = arena();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let fresh = scope.spawn(|| {
            let mut made = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || made < 1000 {
                let array = SharedArray::<u8, Ix1>::zeros(&arena, 64).unwrap();
                array.write().unwrap().fill(1);
                made += 1;
            }
        });
        for _ in 0..2000 {
            let array = SharedArray::<u8, Ix1>::zeros(&arena, 64).unwrap();
            let parts = array.partition(Axis(0), 2).unwrap();
            drop(array);
            drop(parts);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        fresh.join().unwrap();
    });
}

#[test]
fn a_conversion_that_is_refused_returns_the_value() {
    let arena = arena();
    let shared = SharedArray::copy_of(&arena, &array![[1, 2], [3, 4_i64]]).unwrap();
    let clone = shared.clone();
    let refused = shared.with_row_locks(2).unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    let refused = refused.into_value().into_dyn().into_message().unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    let shared = refused.into_value().typed::<i64, Ix2>().unwrap();
    // The handle still opens it.
    let handle = shared.handle().unwrap();
    assert_eq!(
        SharedArray::<i64, Ix2>::open(&handle)
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        10
    );
    drop(clone);
    let shared = shared.with_row_locks(2).unwrap();
    let refused = shared.into_message().unwrap_err();
    assert_eq!(refused.into_value().read().unwrap().sum(), 10);
}

#[test]
fn the_order_of_the_elements_is_named_when_it_cannot_be_divided() {
    let mut arena = arena();
    let mut region = arena.allocate(64).unwrap();
    region.as_mut_slice().fill(0);
    let fortran = Array::with_strides(u16::SCALAR, &[2, 3], &[2, 4], region.freeze().slice(0..12));
    let message = Message::from(fortran.unwrap());
    let shared = SharedArray::<u16, Ix2>::from_message(message).unwrap();
    let error = shared.partition(Axis(0), 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot divide axis 0 of an array of shape [2, 3] into 2 parts: its elements are not in C order (row-major)"
    );
}

#[test]
fn a_description_of_another_process_is_checked_against_the_bytes() {
    let shared = SharedArray::<u16, Ix2>::zeros(&arena(), (2, 3)).unwrap();
    let open = |shape: &[usize], strides: Option<&[isize]>| {
        let sent = ArrayDescription::new(&u16::SCALAR.into(), shape, strides);
        TypedArray::<u16, Ix2>::receive(sent, shared.spans()).is_ok()
    };
    assert!(open(&[2, 3], None) && open(&[3, 2], None) && open(&[2, 3], Some(&[2, -4])));
    assert!(!open(&[2, 4], None), "more elements than bytes");
    assert!(!open(&[2, 3], Some(&[2])), "a stride too few");
    assert!(!open(&[2, 3], Some(&[2, 2])), "elements that overlap");
    assert!(
        !open(&[2, 3], Some(&[2, 400])),
        "elements outside the bytes"
    );
    assert!(!open(&[2, 3], Some(&[isize::MIN, 2])));
}

#[test]
fn a_slice_at_an_odd_address_is_given_back() {
    let mut arena = Arena::new(1 << 20);
    let mut landed = |start: usize| {
        let buffer = arena
            .allocate(100)
            .unwrap()
            .freeze()
            .slice(start..start + 16);
        Message::from(Array::new(u64::SCALAR, &[2], buffer).unwrap())
    };
    let refused = SharedArray::<u64, Ix1>::from_message(landed(3)).unwrap_err();
    assert!(
        matches!(
            refused.error(),
            Error::Misaligned {
                offset: 3,
                alignment: 8
            }
        ),
        "{refused}"
    );
    assert!(refused.into_value().as_array().is_some());
    let dynamic = SharedDynArray::from_message(landed(3)).unwrap();
    assert!(matches!(
        dynamic.typed::<u64, Ix1>(),
        Err(Error::Misaligned { .. })
    ));
    assert!(SharedArray::<u64, Ix1>::from_message(landed(8)).is_ok());
}

#[test]
fn arrays_are_made_of_elements_and_functions() {
    let arena = Arena::new(1 << 20);
    let ones = SharedArray::from_elem(&arena, (2, 3), 1_u8).unwrap();
    assert_eq!(*ones.read().unwrap(), Array2::from_elem((2, 3), 1));
    let place = |(row, column)| (row * 10 + column) as u64;
    let made = SharedArray::from_shape_fn(&arena, (2, 3), place).unwrap();
    assert_eq!(*made.read().unwrap(), array![[0, 1, 2], [10, 11, 12]]);
    let both = DoubleBufferedArray::from_shape_fn(&arena, (2, 3), place).unwrap();
    assert_eq!(*both.read().unwrap(), *made.read().unwrap());
    let copied = SharedArray::from_shape_slice(&arena, (3, 2), &[0_i8, 1, 2, 3, 4, 5]).unwrap();
    assert_eq!(*copied.read().unwrap(), array![[0, 1], [2, 3], [4, 5]]);
    let wrong = SharedArray::from_shape_slice(&arena, (3, 3), &[0_i8, 1, 2, 3, 4, 5]);
    assert!(matches!(wrong, Err(Error::Shape(_))));
    let none = SharedArray::from_elem(&arena, (0, 3), 1_u8).unwrap();
    assert_eq!(none.read().unwrap().len(), 0);
    let huge = SharedArray::from_elem(&arena, (usize::MAX, 2), 1_u8);
    assert!(matches!(huge, Err(Error::Shape(_))));
}

#[test]
fn a_function_that_panics_leaves_no_array() {
    let arena = Arena::new(1 << 20);
    let made = std::panic::catch_unwind(|| {
        SharedArray::<u8, _>::from_shape_fn(&arena, 8, |index| 7 / u8::try_from(index).unwrap())
    });
    assert!(made.is_err());
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn what_nobody_has_written_has_the_shape_and_is_written() {
    let arena = Arena::new(1 << 20);
    let array = SharedArray::<f64, Ix2>::uninit(&arena, (4, 4)).unwrap();
    assert_eq!(array.read().unwrap().dim(), (4, 4));
    array.write().unwrap().fill(1.0);
    assert_eq!(array.read().unwrap().sum(), 16.0);
}

#[test]
fn every_array_is_copied_to_where_nobody_writes() {
    let arena = arena();
    let elements = array![[1_u32, 2], [3, 4], [5, 6]];
    let wanted = Message::from(Array::copy_of(&elements));
    let shared = SharedArray::copy_of(&arena, &elements).unwrap();
    let both = DoubleBufferedArray::copy_of(&arena, &elements).unwrap();
    let grows = GrowableArray::<u32, Ix2>::with_capacity(&arena, (9, 2)).unwrap();
    grows.append(&elements).unwrap();
    let whole = [
        ndarray::SliceInfoElem::from(..),
        ndarray::SliceInfoElem::from(..),
    ];
    let slice = shared.clone().into_dyn().typed::<u32, IxDyn>().unwrap();
    let slice = slice.slice(&whole[..]).unwrap();
    for snapshot in [
        shared.snapshot(),
        both.snapshot(),
        grows.snapshot(),
        slice.snapshot(),
    ] {
        let snapshot = snapshot.unwrap();
        assert_eq!(
            snapshot.as_array().unwrap().data(),
            wanted.as_array().unwrap().data()
        );
        assert_eq!(snapshot.as_array().unwrap().shape(), [3, 2]);
        let backing = snapshot.as_array().unwrap().data().backing().unwrap();
        assert_eq!(backing.stability, numpush_message::Stability::Sealed);
    }
    assert_eq!(both.into_dyn().read().unwrap().len(), 24);
}

#[test]
fn rows_are_locked_with_options() {
    let shared = SharedArray::<u8, Ix1>::zeros(&arena(), 8).unwrap();
    let shared = shared.with_row_locks(4).map_err(Error::from).unwrap();
    let held = shared.write_rows(0..2).unwrap();
    let refused = std::thread::scope(|scope| {
        let try_first = || {
            let read = shared.read_rows_with(LockOptions::no_wait(), 1..2).is_err();
            let write = shared
                .write_rows_with(LockOptions::no_wait(), 1..3)
                .is_err();
            let other = shared.write_rows_with(LockOptions::no_wait(), 2..8).is_ok();
            [read, write, other]
        };
        scope.spawn(try_first).join().unwrap()
    });
    assert_eq!(refused, [true; 3]);
    drop(held);
}
