use super::*;
use crate::command::Command;
use crate::greeting::Mechanism;
use crate::keys::SecretKey;
use crate::mechanism::CurveClient;

/// A mechanism that is at its end at once, and forgets what opens and seals.
#[derive(Debug)]
struct Forgetful;

impl Handshake for Forgetful {
    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        _: Properties<'_>,
        _: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        match Command::read(body)? {
            Command::Ready(properties) => Ok(Some(properties)),
            _ => Ok(None),
        }
    }
}

#[test]
fn a_connection_that_seals_never_goes_on_without() {
    let key = SecretKey::generate().unwrap();
    let security = Security::CurveClient(CurveClient::new(key.clone(), key.public()));
    let mut inbound = Inbound::new(SocketKind::Pull, &security, Limits::default());
    inbound.handshake = Box::new(Forgetful);
    let mut bytes = Vec::from(Greeting::new(Mechanism::Curve, true).to_bytes());
    let theirs = properties_of(SocketKind::Push, b"");
    Command::Ready(Properties::read(&theirs).unwrap()).write(&mut bytes);
    FrameHead::message(1, false).write(&mut bytes);
    bytes.push(7);
    inbound
        .spare()
        .split_at_mut(bytes.len())
        .0
        .copy_from_slice(&bytes);
    inbound.filled(bytes.len());
    assert!(inbound.way_out().is_none());
    assert!(matches!(inbound.next(), Ok(Some(Event::Greeting(_)))));
    assert!(matches!(inbound.next(), Ok(Some(Event::Ready { .. }))));
    // It is no `WayOut::Bare`, and the frame is not taken in as it is.
    assert!(inbound.way_out().is_none());
    let none = Fault::Violation("there is no key to open its frames");
    assert_eq!(inbound.next(), Err(none));
}
