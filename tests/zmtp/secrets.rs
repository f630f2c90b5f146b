//! What stays in memory of the keys of a connection.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use numpush_zmtp::{
    Allowed, CurveClient, CurveServer, Inbound, Limits, SecretKey, Security, Seed, SocketKind,
};

/// A byte of a seed, which no memory has before.
fn byte(of: usize, at: usize) -> u8 {
    let mixed = ((at + of) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

fn seed(of: usize) -> Seed {
    Seed::of(std::array::from_fn(|at| byte(of, at)))
}

/// True if memory of this process has the secret key of that seed, the stack of this thread left out.
fn is_anywhere(of: usize) -> bool {
    let here = std::ptr::from_ref(&of).addr() as u64;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        rest.starts_with("rw")
            && !(from..to).contains(&here)
            && has_key(&memory, from, to, of).unwrap_or(false)
    })
}

fn has_key(memory: &File, from: u64, to: u64, of: usize) -> std::io::Result<bool> {
    const STEP: u64 = 1 << 20;
    let (mut at, mut bytes) = (from, Vec::new());
    while at < to {
        // A key may lie across the end of a step.
        let len = (to - at).min(STEP + 31);
        bytes.resize(usize::try_from(len).unwrap(), 0);
        memory.read_exact_at(&mut bytes, at)?;
        let is_key = |bytes: &[u8]| (0..).zip(bytes).all(|(at, found)| *found == byte(of, at));
        if bytes.windows(32).any(is_key) {
            return Ok(true);
        }
        at += STEP;
    }
    Ok(false)
}

/// Frames kept today cannot be opened with keys stolen tomorrow, when these two are gone.
#[test]
fn the_keys_of_a_connection_do_not_outlive_its_handshake() {
    let [client, server] = [1, 2].map(|byte| SecretKey::new([byte; 32]));
    let there = Security::CurveClient(CurveClient::new(client, server.public()));
    let here = Security::CurveServer(CurveServer::new(server, Allowed::Anybody));
    let limits = Limits::default();
    let mut ends = [
        Inbound::seeded(SocketKind::Push, &there, limits, seed(1000)),
        Inbound::seeded(SocketKind::Pull, &here, limits, seed(2000)),
    ];
    assert!(is_anywhere(1000), "it is looked for as it lies there");
    loop {
        let [up, down] = ends.each_mut().map(Inbound::says);
        if up.is_empty() && down.is_empty() {
            break;
        }
        for (end, heard) in ends.iter_mut().zip([down, up]) {
            end.spare()[..heard.len()].copy_from_slice(&heard);
            end.filled(heard.len());
            while end.next().unwrap().is_some() {}
        }
    }
    assert!(ends.iter_mut().all(|end| end.way_out().is_some()));
    for of in [1000, 2000] {
        assert!(!is_anywhere(of), "{of}");
    }
    drop(ends);
    for of in [1000, 2000] {
        assert!(!is_anywhere(of), "{of}");
    }
}
