//! What a socket says of itself in READY.

use crate::fault::Fault;
use crate::kind::SocketKind;
use crate::properties::{Properties, Property};

/// The properties of a socket of this kind, as they travel. Only who is answered by name has one; to one that is empty the peer
/// gives a name.
pub(crate) fn properties_of(kind: SocketKind, identity: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |name, value| {
        // Neither is too long, and both have a name.
        let _ = Properties::write(&mut bytes, Property { name, value });
    };
    write("Socket-Type", kind.name().as_bytes());
    if matches!(
        kind,
        SocketKind::Req | SocketKind::Dealer | SocketKind::Router
    ) {
        write("Identity", identity);
    }
    bytes
}

/// Checks the READY of a peer of a socket of the kind `ours`, and returns its kind.
pub(crate) fn check_ready(
    properties: Properties<'_>,
    ours: SocketKind,
) -> Result<SocketKind, Fault> {
    let Some(name) = properties.get("Socket-Type") else {
        return Err(Fault::Violation(
            "it does not say which kind of socket it is",
        ));
    };
    let kind: SocketKind = String::from_utf8_lossy(name).parse()?;
    if !ours.fits(kind) {
        return Err(Fault::Kind {
            theirs: kind.name(),
            ours: ours.name(),
        });
    }
    if properties
        .get("Identity")
        .is_some_and(|identity| identity.len() > 255)
    {
        return Err(Fault::Violation(
            "it has an identity of more than 255 bytes",
        ));
    }
    Ok(kind)
}
