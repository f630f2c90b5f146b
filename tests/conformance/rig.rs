//! How a scheme is set up for a test, and what is sent over it.

use std::collections::BTreeMap;
use std::time::Duration;

use numpush::model::{Body, Column, ColumnData, ColumnType};
use numpush::transfer::Scheme;
use numpush::{Connection, Frame, Listener, Message, Options};
use numpush_tests::{TempPath, bytes, every_dtype};

/// How a scheme is set up for a test.
pub(crate) struct Rig {
    pub(crate) scheme: Scheme,
    pub(crate) place: TempPath,
    /// Behind the listening, and the connecting, endpoint.
    pub(crate) query: (&'static str, &'static str),
    /// Messages that one link takes.
    pub(crate) capacity: usize,
}

impl Rig {
    pub(crate) fn new(
        scheme: Scheme,
        query: (&'static str, &'static str),
        capacity: usize,
    ) -> Self {
        Self {
            scheme,
            place: TempPath::new(scheme.name()),
            query,
            capacity,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        let path = self.place.0.display();
        match self.scheme {
            Scheme::Tcp => "tcp://127.0.0.1:0".into(),
            Scheme::ZmqTcp => "zmq+tcp://127.0.0.1:0".into(),
            Scheme::File if self.capacity > 1 => format!("file:{path}/"),
            scheme => format!("{scheme}:{path}"),
        }
    }

    pub(crate) fn listen_with(&self, options: &Options) -> Listener {
        options
            .listen(&format!("{}{}", self.endpoint(), self.query.0))
            .unwrap()
    }

    pub(crate) fn listen(&self) -> Listener {
        self.listen_with(&Options::new())
    }

    pub(crate) fn connect_with(&self, listener: &Listener, options: &Options) -> Connection {
        let address = listener.address();
        options
            .connect(&format!("{address}{}", self.query.1))
            .unwrap()
    }

    pub(crate) fn connect(&self, listener: &Listener) -> Connection {
        self.connect_with(listener, &Options::new())
    }

    /// Both ends of a link, the connecting one first.
    pub(crate) fn pair_with(&self, options: &Options) -> (Connection, Connection, Listener) {
        let mut listener = self.listen_with(options);
        let connect = self.connect_with(&listener, options);
        // A file that nobody has written yet is no link to accept.
        if self.scheme == Scheme::File && self.capacity == 1 {
            let other = numpush::connect(&self.endpoint()).unwrap();
            return (connect, other, listener);
        }
        let accepted = accept(&mut listener);
        (connect, accepted, listener)
    }

    pub(crate) fn pair(&self) -> (Connection, Connection, Listener) {
        self.pair_with(&Options::new())
    }
}

pub(crate) fn accept(listener: &mut Listener) -> Connection {
    listener.accept_for(numpush_tests::PATIENCE).unwrap()
}

pub(crate) fn short() -> Options {
    Options::new()
        .send_timeout(Duration::from_millis(200))
        .recv_timeout(Duration::from_millis(200))
}

fn frame() -> Message<'static> {
    let offsets: Vec<u8> = [0_i32, 1, 1, 3]
        .into_iter()
        .flat_map(i32::to_le_bytes)
        .collect();
    let buffers = vec![
        vec![0b101].into(),
        offsets.into(),
        vec![b'a', 0xc3, 0xa9].into(),
    ];
    let text = ColumnData::new(ColumnType::Utf8, 3, buffers).unwrap();
    let column = Column::new("text", text).unwrap();
    let metadata = BTreeMap::from([("index".to_owned(), "kept".to_owned())]);
    let frame = Frame::new(vec![column]).unwrap();
    Message::from(frame.with_metadata(metadata).unwrap())
}

pub(crate) fn every_kind() -> Vec<Message<'static>> {
    let mut messages = every_dtype();
    messages.push(
        frame()
            .with_attribute("from", "here")
            .with_attribute("é", "ü"),
    );
    messages.push(Message::new(Body::Bytes(vec![1, 2, 3].into())));
    messages.push(bytes(0, 0));
    messages.push(bytes(100_000, 3));
    messages.push(bytes(3 << 20, 4));
    messages
}
