use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt};

use crate::failpoint::point;

/// The process at the other side of a unix socket, as of its connect;
/// [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html), SO_PEERCRED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// Its process number.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
}

/// Proof that a peer runs as the user of this process.
///
/// The kernel lets such a peer read and write the memory of this process anyway
/// ([ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html)), so sharing memory with it gives it no new power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SameUser(());

/// Returns who is at the other side of a unix socket.
///
/// # Errors
/// What [getsockopt(2)](https://man7.org/linux/man-pages/man2/getsockopt.2.html) reports.
pub fn peer_credentials(socket: impl AsFd) -> io::Result<Credentials> {
    point("getsockopt")?;
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Credentials {
        pid: peer.pid(),
        uid: peer.uid(),
    })
}

/// The effective user of this process; [geteuid(2)](https://man7.org/linux/man-pages/man2/geteuid.2.html).
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

impl Credentials {
    /// Proof that the peer runs as the user of this process, if it does.
    ///
    /// In a user namespace every user that has no number there is shown by the same one, the overflow user
    /// ([user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)). If this process is shown so,
    /// a peer of that number may be anybody, and there is no proof.
    pub fn same_user(&self) -> Option<SameUser> {
        let same = self.uid == user() && (self.uid != overflow_user() || every_user_has_a_number());
        same.then_some(SameUser(()))
    }
}

fn overflow_user() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65534)
}

/// True in a user namespace that maps all users, as the first one does.
fn every_user_has_a_number() -> bool {
    let text = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    words == ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    #[test]
    fn a_peer_in_this_process_is_the_same_user() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = peer_credentials(&one).unwrap();
        assert_eq!(peer.uid, user());
        assert!(peer.same_user().is_some());
        let other = Credentials {
            uid: peer.uid + 1,
            ..peer
        };
        assert!(other.same_user().is_none());
    }

    /// Everybody has the overflow user's number there, so equal numbers prove nothing.
    #[test]
    fn users_without_a_number_are_not_the_same() {
        // SAFETY: the child makes system calls, reads files and leaves by _exit.
        let status = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = match unshare(CloneFlags::CLONE_NEWUSER) {
                    Err(_) => 2,
                    Ok(()) => {
                        let credentials = Credentials {
                            pid: 1,
                            uid: user(),
                        };
                        i32::from(credentials.same_user().is_some())
                    }
                };
                // SAFETY: it does not return.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        };
        match status {
            WaitStatus::Exited(_, 2) => {
                // Past the harness, which hides what a test prints that does not fail.
                let _ = writeln!(io::stderr(), "NOT RUN: user namespaces are not allowed");
            }
            WaitStatus::Exited(_, code) => assert_eq!(code, 0),
            other => panic!("{other:?}"),
        }
    }
}
