//! From an endpoint to its transport: the only `match` over schemes.

use std::str::FromStr;

use numpush_message::{BufferAllocator, HeapAllocator};
use numpush_transports::{
    self as transports, Acceptor, AllocatorFactory, Checksums, Options, Sendfile, Transport,
};

use crate::connection::{Connection, Listener};
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::Error;

/// Connects to `endpoint`, waiting up to 5 s for the other side to appear.
///
/// # Errors
/// [`Error::Endpoint`] if it cannot be understood; [`Error::Transport`] if nobody is there.
pub fn connect(endpoint: &str) -> Result<Connection, Error> {
    connect_with(endpoint, &Options::default(), HeapAllocator::new())
}

/// Connects to `endpoint` with options of the caller's; what is received lands in `allocator`.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(
    endpoint: &str,
    options: &Options,
    allocator: impl BufferAllocator + 'static,
) -> Result<Connection, Error> {
    let endpoint = Endpoint::from_str(endpoint)?;
    let options = tuned(options, &endpoint)?;
    let link = open_link(&endpoint, &options, Box::new(allocator))?;
    Ok(Connection::new(link))
}

/// Listens at `endpoint`. Port 0 of `tcp` takes a free port, which [`Listener::address`] tells.
///
/// # Errors
/// [`Error::Endpoint`] if it cannot be understood; [`Error::Transport`] if it is taken.
pub fn listen(endpoint: &str) -> Result<Listener, Error> {
    listen_with(endpoint, &Options::default())
}

/// Listens at `endpoint` with options of the caller's.
///
/// # Errors
/// As [`listen`].
pub fn listen_with(endpoint: &str, options: &Options) -> Result<Listener, Error> {
    let endpoint = Endpoint::from_str(endpoint)?;
    let options = tuned(options, &endpoint)?;
    let acceptor = open_acceptor(&endpoint, &options, AllocatorFactory::default())?;
    Ok(Listener::new(acceptor))
}

#[cfg_attr(
    not(all(feature = "tcp", feature = "zmq")),
    allow(
        unused_variables,
        clippy::allow_attributes,
        reason = "what a build without transports does not need"
    )
)]
fn open_link(
    endpoint: &Endpoint,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    let address = endpoint.address.as_str();
    Ok(match endpoint.scheme {
        Scheme::Inproc => transports::inproc::connect(address, options)?,
        #[cfg(feature = "tcp")]
        Scheme::Tcp => transports::tcp::connect(address, options, allocator)?,
        #[cfg(feature = "unix")]
        Scheme::Unix => transports::unix::connect(address, options, allocator)?,
        #[cfg(feature = "file")]
        Scheme::File => transports::file::connect(address, options, allocator)?,
        #[cfg(feature = "zmq")]
        Scheme::ZmqTcp | Scheme::ZmqIpc => {
            let pattern = pattern(endpoint, transports::zmq::Pattern::Push)?;
            transports::zmq::connect(&zmq_address(endpoint), pattern, options, allocator)?
        }
        #[cfg(not(all(feature = "tcp", feature = "unix", feature = "file", feature = "zmq")))]
        scheme => return Err(Error::Disabled { scheme }),
    })
}

#[cfg_attr(
    not(all(feature = "tcp", feature = "zmq")),
    allow(
        unused_variables,
        clippy::allow_attributes,
        reason = "what a build without transports does not need"
    )
)]
fn open_acceptor(
    endpoint: &Endpoint,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    let address = endpoint.address.as_str();
    Ok(match endpoint.scheme {
        Scheme::Inproc => transports::inproc::listen(address, options)?,
        #[cfg(feature = "tcp")]
        Scheme::Tcp => transports::tcp::listen(address, options, allocators)?,
        #[cfg(feature = "unix")]
        Scheme::Unix => transports::unix::listen(address, options, allocators)?,
        #[cfg(feature = "file")]
        Scheme::File => transports::file::listen(address, options, allocators)?,
        #[cfg(feature = "zmq")]
        Scheme::ZmqTcp | Scheme::ZmqIpc => {
            let pattern = pattern(endpoint, transports::zmq::Pattern::Pull)?;
            let trusted = endpoint
                .parameter("trusted")
                .is_some_and(|value| value == "1");
            transports::zmq::listen(
                &zmq_address(endpoint),
                pattern,
                trusted,
                options,
                &allocators,
            )?
        }
        #[cfg(not(all(feature = "tcp", feature = "unix", feature = "file", feature = "zmq")))]
        scheme => return Err(Error::Disabled { scheme }),
    })
}

/// The options with what the endpoint's parameters say instead.
fn tuned(options: &Options, endpoint: &Endpoint) -> Result<Options, EndpointError> {
    let mut options = options.clone();
    for (name, value) in &endpoint.parameters {
        let fault = |expected| EndpointError::Parameter {
            name: name.clone(),
            value: value.clone(),
            expected,
        };
        match name.as_str() {
            "max" => options.max_message = value.parse().map_err(|_| fault("a number of bytes"))?,
            "checksums" => {
                options.checksums = match value.as_str() {
                    "on" => Checksums::On,
                    "off" => Checksums::Off,
                    "auto" => Checksums::Auto,
                    _ => return Err(fault("on, off or auto")),
                }
            }
            "sendfile" => {
                options.sendfile = match value.as_str() {
                    "on" => Sendfile::On,
                    "off" => Sendfile::Off,
                    "auto" => Sendfile::Auto,
                    _ => return Err(fault("on, off or auto")),
                }
            }
            "users" => {
                let users: Result<_, _> = value.split(',').map(str::parse).collect();
                options.allowed_users = users.map_err(|_| fault("numbers of users"))?;
            }
            "trusted" if value != "1" && value != "0" => return Err(fault("0 or 1")),
            _ => {}
        }
    }
    Ok(options)
}

#[cfg(feature = "zmq")]
fn pattern(
    endpoint: &Endpoint,
    default: transports::zmq::Pattern,
) -> Result<transports::zmq::Pattern, EndpointError> {
    use transports::zmq::Pattern;
    let Some(value) = endpoint.parameter("socket") else {
        return Ok(default);
    };
    Ok(match value {
        "push" => Pattern::Push,
        "pull" => Pattern::Pull,
        "pub" => Pattern::Pub,
        "sub" => Pattern::Sub,
        "req" => Pattern::Req,
        "rep" => Pattern::Rep,
        _ => {
            let expected = "push, pull, pub, sub, req or rep";
            return Err(EndpointError::Parameter {
                name: "socket".into(),
                value: value.into(),
                expected,
            });
        }
    })
}

#[cfg(feature = "zmq")]
fn zmq_address(endpoint: &Endpoint) -> String {
    let scheme = if endpoint.scheme == Scheme::ZmqTcp {
        "tcp"
    } else {
        "ipc"
    };
    format!("{scheme}://{}", endpoint.address)
}
