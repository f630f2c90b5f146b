//! Slices of shared arrays. They are made with `s!`, which a crate that forbids unsafe code cannot use in its own tests.

use ndarray::{Array2, Array3, Ix1, Ix2, IxDyn, NewAxis, s};
use numpush_shm::{Arena, Error, LockError, SharedArray, SharedSlice, SliceHandle};

/// An array, and the same in shared memory.
type Both = (Array3<u64>, SharedArray<u64, ndarray::Ix3>);

fn cube() -> Result<Both, Error> {
    let elements = Array3::from_shape_fn((4, 5, 6), |(i, j, k)| (i * 100 + j * 10 + k) as u64);
    let shared = SharedArray::copy_of(&Arena::new(1 << 20), &elements)?;
    Ok((elements, shared))
}

#[test]
fn a_slice_is_what_ndarray_makes_of_it() {
    let (elements, shared) = cube().unwrap();
    macro_rules! same {
        ($($slice:expr),*) => {
            $(
                let slice = shared.slice($slice).unwrap();
                assert_eq!(*slice.read().unwrap(), elements.slice($slice), "{slice:?}");
                assert_eq!(slice.shape(), elements.slice($slice).shape());
            )*
        };
    }
    same!(
        s![.., .., ..],
        s![1, 2, 3],
        s![1..3, .., 5],
        s![-1, ..-2, 1..;2]
    );
    same!(
        s![..;3, 4.., NewAxis, ..],
        s![2..2, .., ..],
        s![3.., ..0, 6..],
        s![0, -5.., -1..]
    );
    let inner = shared.slice(s![1.., ..;2, 2..5]).unwrap();
    let twice = inner.slice(s![1, .., ..;2]).unwrap();
    assert_eq!(*twice.read().unwrap(), elements.slice(s![2, ..;2, 2..5;2]));
}

#[test]
fn indices_that_do_not_exist_are_refused() {
    let (_, shared) = cube().unwrap();
    assert!(matches!(
        shared.slice(s![4, .., ..]),
        Err(Error::Range { .. })
    ));
    assert!(matches!(
        shared.slice(s![-5, .., ..]),
        Err(Error::Range { .. })
    ));
    assert!(matches!(
        shared.slice(s![..5, .., ..]),
        Err(Error::Range { .. })
    ));
    assert!(matches!(
        shared.slice(s![..;-1, .., ..]),
        Err(Error::Range { .. })
    ));
    let any = shared.into_dyn().typed::<u64, IxDyn>().unwrap();
    let too_few = any.slice(
        ndarray::SliceInfo::<_, IxDyn, IxDyn>::try_from(
            [ndarray::SliceInfoElem::Index(0)].as_slice(),
        )
        .unwrap(),
    );
    assert!(matches!(too_few, Err(Error::Axes { wanted: 1, .. })));
}

#[test]
fn a_slice_is_written_in_place_under_the_lock_of_its_array() {
    let (mut elements, shared) = cube().unwrap();
    let slice = shared.slice(s![1..3, 2, ..;2]).unwrap();
    let mut held = slice.write().unwrap();
    held.fill(99);
    assert!(matches!(shared.try_read(), Err(LockError::WouldDeadlock)));
    drop(held);
    elements.slice_mut(s![1..3, 2, ..;2]).fill(99);
    assert_eq!(*shared.read().unwrap(), elements);
}

#[test]
fn a_slice_takes_the_locks_of_its_rows() {
    let (elements, shared) = cube().unwrap();
    let shared = shared.with_row_locks(4).map_err(Error::from).unwrap();
    let (low, high) = (
        shared.slice(s![..2, 1, ..]).unwrap(),
        shared.slice(s![2.., 4, 1]).unwrap(),
    );
    let mut first = low.write().unwrap();
    let second = high.write().unwrap();
    assert_eq!(*second, elements.slice(s![2.., 4, 1]));
    first.fill(7);
    drop((first, second));
    let panicked = std::thread::scope(|scope| {
        let write = || {
            let _held = high.write().unwrap();
            panic!("on purpose");
        };
        scope.spawn(write).join()
    });
    assert!(panicked.is_err());
    assert_eq!(*low.read().unwrap(), Array2::from_elem((2, 6), 7));
    assert!(matches!(shared.read(), Err(LockError::Poisoned(_))));
    assert!(high.read().is_err());
}

#[test]
fn a_handle_opens_the_same_slice() {
    let (elements, shared) = cube().unwrap();
    let slice = shared.slice(s![1..3, 2, ..;2]).unwrap();
    let text = slice.handle().unwrap().to_string();
    assert!(text.ends_with("@42:2x3:30x2"), "{text}");
    let handle: SliceHandle = text.parse().unwrap();
    let same = SharedSlice::<u64, Ix2>::open(&handle).unwrap();
    assert_eq!(*same.read().unwrap(), elements.slice(s![1..3, 2, ..;2]));
    assert!(matches!(
        SharedSlice::<u64, Ix1>::open(&handle),
        Err(Error::Axes { .. })
    ));
    let sent: SharedSlice<u64, Ix2> =
        rmp_serde::from_slice(&rmp_serde::to_vec(&slice).unwrap()).unwrap();
    assert_eq!(*sent.read().unwrap(), *same.read().unwrap());
    let point = shared.slice(s![1, 2, 3]).unwrap().handle().unwrap();
    assert_eq!(point.to_string().parse::<SliceHandle>().unwrap(), point);
    for wrong in [
        "",
        "shm:1.0/7",
        &text[..text.len() - 2],
        &format!("{text}x"),
        "@1:2:3",
    ] {
        assert!(
            wrong.parse::<SliceHandle>().is_err() || wrong.ends_with('x'),
            "{wrong}"
        );
    }
}

#[test]
fn a_forged_slice_is_refused() {
    let (_, shared) = cube().unwrap();
    let text = shared.handle().unwrap().to_string();
    for place in [
        "0:121:1",
        "119:2:1",
        "0:2x2:1x1",
        "0:3x2:1x2",
        "0:2:18446744073709551615",
        "18446744073709551615:1:1",
        "0:18446744073709551615x18446744073709551615x0:1x1x1",
        "0:2:0",
    ] {
        let handle: SliceHandle = format!("{text}@{place}").parse().unwrap();
        assert!(SharedSlice::<u64, IxDyn>::open(&handle).is_err(), "{place}");
    }
    for place in ["0:120:1", "119:1:1", "0:2x3:1x2", "5:0:9"] {
        let handle: SliceHandle = format!("{text}@{place}").parse().unwrap();
        let slice = SharedSlice::<u64, IxDyn>::open(&handle).unwrap();
        assert!(slice.read().is_ok() && slice.write().is_ok(), "{place}");
    }
}
