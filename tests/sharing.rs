//! What is received lands in shared memory, over every transport that crosses processes, and is shared where it lies.

use ndarray::{Array2, Axis, Ix1, Ix2};
use numpush::shm::{Arena, Error, SharedArray, SharedFrame};
use numpush::transfer::{Scheme, TransferPath};
use numpush::{Array, Connection, Message, Options};
use numpush_tests::{TempPath, bytes};

/// Endpoints to listen at, one a scheme; a scheme left out fails.
fn endpoints(place: &TempPath) -> Vec<(Scheme, String)> {
    let path = place.0.display();
    let endpoint = |scheme: &Scheme| match scheme {
        Scheme::Tcp => Some("tcp://127.0.0.1:0".to_owned()),
        Scheme::Unix => Some(format!("unix:{path}.socket")),
        Scheme::File => Some(format!("file:{path}/")),
        Scheme::ZmqTcp => Some("zmq+tcp://127.0.0.1:0".to_owned()),
        Scheme::ZmqIpc => Some(format!("zmq+ipc:{path}.ipc")),
        Scheme::Inproc => Some(format!("inproc:{path}")),
        other => panic!("{other:?} is not in the list"),
    };
    Scheme::ALL
        .iter()
        .filter_map(|scheme| Some((*scheme, endpoint(scheme)?)))
        .collect()
}

/// The sum of the array that `receiver` receives next.
fn sum_of_next(receiver: &mut Connection) -> f64 {
    let message = receiver.recv().unwrap().message;
    let array = message.as_array().unwrap();
    array.as_ndarray::<f64, Ix2>().unwrap().sum()
}

#[test]
fn arrays_land_in_the_arena_over_every_transport() {
    for (scheme, endpoint) in endpoints(&TempPath::new("sharing")) {
        let sent = Array2::from_shape_fn((300, 400), |(row, column)| (row * 400 + column) as f64);
        let payload = sent.len() * 8;
        // No room for a second copy, anywhere in the arena.
        let arena = Arena::new(payload + 4096);
        let mut listener = Options::new()
            .allocator(arena.clone())
            .listen(&endpoint)
            .unwrap();
        let address = listener.address();
        let original = sent.clone();
        let sender = std::thread::spawn(move || {
            let mut connection = numpush::connect(&address).unwrap();
            connection
                .send(&Message::from(Array::borrowed(&original).unwrap()))
                .unwrap();
            // Where there is a way back, wait for it.
            let _ = connection.close();
        });
        let received = listener.accept().unwrap().recv().unwrap();
        sender.join().unwrap();
        let address = received.message.as_array().unwrap().data().as_ptr();
        if scheme == Scheme::Tcp {
            assert_eq!(received.transfer.path, TransferPath::Read);
            // What a read that looks for the next header takes of the payload behind it.
            assert!(received.transfer.copied <= 16 << 10);
        }
        let shared: SharedArray<f64, Ix2> = received.message.try_into().unwrap();
        assert_eq!(
            shared.read().unwrap().as_ptr().cast(),
            address,
            "{scheme:?}"
        );
        assert_eq!(*shared.read().unwrap(), sent, "{scheme:?}");
        *shared.write().unwrap() *= 2.0;
        let back = shared.into_message().unwrap();
        assert_eq!(
            back.as_array().unwrap().as_ndarray::<f64, Ix2>().unwrap()[[299, 399]],
            sent[[299, 399]] * 2.0
        );
        drop(back);
        assert_eq!(arena.usage().used, 0, "{scheme:?}");
    }
}

#[test]
fn a_message_over_the_budget_is_refused_and_the_next_is_not() {
    let mut listener = Options::new()
        .allocator(Arena::new(4 << 20))
        .listen("tcp://127.0.0.1:0")
        .unwrap();
    let address = listener.address();
    let sender = std::thread::spawn(move || {
        let mut greedy = numpush::connect(&address).unwrap();
        let refused = greedy.send(&bytes(8 << 20, 1)).and_then(|_| greedy.flush());
        let mut modest = numpush::connect(&address).unwrap();
        modest.send(&bytes(1 << 20, 2)).unwrap();
        modest.close().unwrap();
        refused
    });
    let mut greedy = listener.accept().unwrap();
    let error = greedy.recv().unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    assert!(
        cause.to_string().contains("more than the 4194304 that"),
        "{cause}"
    );
    drop(greedy);
    let received = listener.accept().unwrap().recv().unwrap();
    assert!(SharedArray::<u8, Ix1>::from_message(received.message).is_ok());
    assert!(sender.join().unwrap().is_err());
}

#[test]
fn what_lies_elsewhere_is_not_taken_for_shared() {
    let array = Array::copy_of(&Array2::<f64>::ones((2, 2)));
    let error = SharedArray::<f64, Ix2>::from_message(Message::from(array)).unwrap_err();
    assert!(matches!(error.error(), Error::NotShared), "{error}");
    let array = error.into_value();
    assert_eq!(array.as_array().unwrap().shape(), [2, 2], "it is returned");
}

#[test]
fn a_shared_array_is_sent_from_where_it_lies() {
    let arena = Arena::new(8 << 20);
    let shared = SharedArray::copy_of(&arena, &Array2::<f64>::ones((100, 100))).unwrap();
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let mut sender = numpush::connect(&listener.address()).unwrap();
    let mut receiver = listener.accept().unwrap();
    let held = shared.read().unwrap();
    let transfer = sender
        .send(&Message::from(Array::borrowed(&held).unwrap()))
        .unwrap();
    assert_eq!(transfer.copied, 0);
    drop(held);
    shared.write().unwrap().fill(2.0);
    assert_eq!(sum_of_next(&mut receiver), 10_000.0);
}

#[test]
fn a_snapshot_is_handed_out_and_nobody_can_write_it() {
    let place = TempPath::new("snapshot");
    let shared =
        SharedArray::copy_of(&Arena::new(8 << 20), &Array2::<f64>::ones((200, 100))).unwrap();
    let snapshot = shared.snapshot().unwrap();
    shared.write().unwrap().fill(2.0);
    let backing = snapshot
        .as_array()
        .unwrap()
        .data()
        .backing()
        .unwrap()
        .clone();
    assert!(numpush_os::is_sealed(&*backing.file));
    let file = std::fs::File::from(backing.file.try_clone().unwrap());
    assert!(std::os::unix::fs::FileExt::write_at(&file, b"x", 0).is_err());
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let mut sender = numpush::connect(&listener.address()).unwrap();
    let mut receiver = listener.accept().unwrap();
    let transfer = sender.send(&snapshot).unwrap();
    assert_eq!(
        (transfer.copied, transfer.path),
        (0, TransferPath::Reference)
    );
    assert_eq!(sum_of_next(&mut receiver), 20_000.0);
}

#[test]
fn connections_that_are_made_land_too() {
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let arena = Arena::new(8 << 20);
    let mut near = Options::new()
        .allocator(arena.clone())
        .connect(&listener.address())
        .unwrap();
    let mut far = listener.accept().unwrap();
    far.send(&bytes(1 << 20, 3)).unwrap();
    let shared = SharedArray::<u8, Ix1>::from_message(near.recv().unwrap().message).unwrap();
    assert_eq!(arena.usage().used, 1 << 20);
    let parts = shared.partition(Axis(0), 4).unwrap();
    assert_eq!(parts.len(), 4);
}

#[test]
fn a_frame_that_is_none_is_told() {
    let error = SharedFrame::from_message(bytes(10, 0)).unwrap_err();
    assert_eq!(error.to_string(), "the message holds no dataframe");
}
