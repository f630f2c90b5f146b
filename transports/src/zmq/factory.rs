//! The transport, as `connect` and `listen` find it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use numpush_zmtp::Security;

use crate::deadline::Deadline;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::{Error, Operation};
use crate::lookup;
use crate::options::{Options, Parameter};
use crate::status::ListenerStatus;
use crate::transport::{AcceptContext, Acceptor, AtOnce, Attempt, Bound, Established, Factory};
use crate::zmq::calls::Calls;
use crate::zmq::core::Core;
use crate::zmq::dial::Dial;
use crate::zmq::pattern::{self, Pattern};
use crate::zmq::peer::Peer;
use crate::zmq::secure;
use crate::zmq::stream::{Listening, Medium};
use crate::zmq::terms::Terms;

/// The factory of this transport, over tcp or over unix sockets.
pub(crate) struct Zmq {
    scheme: Scheme,
    pub(super) medium: Medium,
    parameters: &'static [Parameter],
}

const SOCKET: Parameter = Parameter {
    name: "socket",
    values: "push|pull|pub|sub|req|rep|pair|dealer",
    meaning: "kind of socket on this side (connect: push, listen: pull)",
    parse: |value, _| pattern::parse(value).map(drop),
};

const TRUSTED: Parameter = Parameter {
    name: "trusted",
    values: "0|1",
    meaning: "listen on an address that other machines can reach",
    parse: |value, _| matches!(value, "0" | "1").then_some(()),
};

impl Zmq {
    pub(crate) const TCP: Self = Self {
        scheme: Scheme::ZmqTcp,
        medium: Medium::Tcp,
        parameters: &[
            Parameter::MAX,
            SOCKET,
            TRUSTED,
            secure::KEY,
            secure::SERVER,
            secure::ALLOW,
            secure::LOGIN,
        ],
    };

    pub(crate) const IPC: Self = Self {
        scheme: Scheme::ZmqIpc,
        medium: Medium::Ipc,
        parameters: &[
            Parameter::MAX,
            SOCKET,
            secure::KEY,
            secure::SERVER,
            secure::ALLOW,
            secure::LOGIN,
        ],
    };

    /// The endpoint, as errors name it.
    fn name(&self, endpoint: &Endpoint) -> String {
        self.medium.name(endpoint.address())
    }

    /// The addresses to listen on, if they are known. Unless each peer proves a key that is known here: only peers of this machine, or
    /// the caller trusts the others.
    pub(super) fn trusted(
        &self,
        at: &Endpoint,
        security: &Security,
    ) -> Result<Option<Vec<SocketAddr>>, EndpointError> {
        if self.scheme == Scheme::ZmqIpc
            || security.knows_its_peers()
            || at.parameter("trusted") == Some("1")
        {
            return Ok(None);
        }
        let addresses = lookup::addresses(at.address(), Some(LONGEST_LOOK_UP)).ok();
        let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        match addresses.filter(|all| all.iter().all(is_local)) {
            // A second look-up could have another answer.
            Some(addresses) => Ok(Some(addresses)),
            None => Err(EndpointError::Address {
                address: at.to_string(),
                fault: "a ZeroMQ listener takes only loopback addresses unless each peer proves a key that it knows: \
                        add ?key=PATH&allow=PATH (CURVE), or ?trusted=1 if every machine that can reach it is trusted",
            }),
        }
    }
}

fn pattern(endpoint: &Endpoint, default: Pattern) -> Pattern {
    let given = endpoint.parameter("socket").and_then(pattern::parse);
    given.unwrap_or(default)
}

pub(super) fn terms(pattern: Pattern, security: Arc<Security>, options: &Options) -> Terms {
    Terms {
        pattern,
        security,
        takes_raw: false,
        max_message: options.max_message,
        window: options.window,
        patience: options.patience,
        heartbeat: options.heartbeat,
        linger: options.linger,
        budget: options.budget.clone(),
    }
}

/// A listener waits so long for the addresses of a name.
const LONGEST_LOOK_UP: Duration = Duration::from_secs(5);

/// An attempt without a wait has so long all the same: the two sides say who they are.
const LEAST: Duration = Duration::from_millis(100);

impl Factory for Zmq {
    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }

    /// Connects as often as it takes for the other side to appear and to say that it is ready.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let (name, pattern) = (self.name(to), pattern(to, Pattern::Push));
        let security = secure::security(to, options, false)?;
        let dial = Dial::new(self.medium, to.address());
        let core = Core::new(terms(pattern, security, options), |state, _| {
            state.subscribe_to_all();
            state.connect(dial);
            Ok(())
        });
        let core = core.map_err(Error::io(Operation::SetUp, &name))?;
        let deadline = Deadline::after(options.connect_timeout.max(LEAST));
        let mut call = core.enter();
        while !call.state().peers.values().any(Peer::is_open) {
            let waited = call.wait(deadline, None);
            let waited = waited.map_err(Error::io(Operation::Connect, &name))?;
            let (state, events) = call.parts();
            state.step(events);
            let is_refused = state.is_refused();
            if (!waited || is_refused) && !state.peers.values().any(Peer::is_open) {
                let source = Error::io(Operation::Connect, &name)(state.why());
                state.leave(events);
                return Err(match is_refused {
                    true => Error::Handshake {
                        peer: name,
                        source: Box::new(source),
                    },
                    false => source,
                });
            }
        }
        drop(call);
        Ok(Established::new(Calls::new(core, pattern), name))
    }

    fn start(&self, to: &Endpoint, options: &Options) -> Result<Box<dyn Attempt>, Error> {
        let options = options.clone().connect_timeout(Duration::ZERO);
        let established = self.connect(to, &options)?;
        Ok(Box::new(AtOnce(Some(established))))
    }

    /// Listens. The one connection it accepts is for all peers.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        let security = secure::security(at, options, true)?;
        let addresses = self.trusted(at, &security)?;
        let (name, pattern) = (self.name(at), pattern(at, Pattern::Pull));
        let mut address = name.clone();
        let core = Core::new(terms(pattern, security, options), |state, events| {
            let listening = Listening::bind(self.medium, at.address(), addresses.as_deref())?;
            address = listening.address()?;
            state.subscribe_to_all();
            state.listen(listening, events)
        });
        let core = core.map_err(Error::io(Operation::Listen, &name))?;
        let acceptor = ZmqAcceptor {
            socket: Some(Calls::new(Arc::clone(&core), pattern)),
            core,
        };
        Ok(Bound::new(acceptor, address))
    }
}

struct ZmqAcceptor {
    /// The one connection, until it is accepted.
    socket: Option<Calls>,
    core: Arc<Core>,
}

impl Acceptor for ZmqAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let socket = self.socket.take().ok_or(Error::Unsupported {
            transport: "a ZeroMQ listener",
            operation: Operation::Accept,
            reason: "its first connection is with all peers, and there is no second",
        })?;
        Ok(Established::new(socket, cx.address.to_owned()))
    }

    fn status(&self) -> ListenerStatus {
        let refusals = self.core.refusals();
        refusals.map_or_else(ListenerStatus::default, |refusals| ListenerStatus {
            handshakes: refusals.handshakes(),
            refused: refusals.count(),
            ..ListenerStatus::default()
        })
    }

    fn take_refused(&mut self) -> Option<Error> {
        self.core.refusals()?.take()
    }
}
