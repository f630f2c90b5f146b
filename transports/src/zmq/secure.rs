//! Who may be the other side of a socket, as the endpoint says it or else the options.

use std::path::Path;
use std::sync::Arc;

use numpush_zmtp::Security;

use crate::endpoint::{Endpoint, EndpointError};
use crate::error::Error;
use crate::keys::{KeyFileError, read_allowed, read_logins, read_public, read_secret};
use crate::options::{Options, Parameter};
use crate::security::{Allowed, Curve, Plain, Secured};

/// Endpoints are printed, and so they name files.
pub(super) const KEY: Parameter = path("key", "CURVE: file with our secret key, of keygen");
pub(super) const SERVER: Parameter = path(
    "server",
    "CURVE: file with the public key of the other side",
);
pub(super) const ALLOW: Parameter = Parameter {
    name: "allow",
    values: "PATH|anybody",
    meaning: "CURVE: file with the public keys of who may come in",
    parse: is_given,
};
pub(super) const LOGIN: Parameter =
    path("login", "PLAIN: file with lines of a name and a password");

const fn path(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter {
        name,
        values: "PATH",
        meaning,
        parse: is_given,
    }
}

fn is_given(value: &str, _: &mut Options) -> Option<()> {
    (!value.is_empty()).then_some(())
}

/// Reads what secures a socket. Who listens is the server of PLAIN.
pub(super) fn security(
    at: &Endpoint,
    options: &Options,
    listens: bool,
) -> Result<Arc<Security>, Error> {
    let [key, server, allow, login] =
        ["key", "server", "allow", "login"].map(|name| at.parameter(name));
    let secured = match (key, server, allow, login) {
        (None, None, None, None) => options.secured.clone(),
        (None, None, None, Some(login)) => plain(Path::new(login), listens)?,
        (Some(key), Some(server), None, None) => {
            let key = read_secret(Path::new(key))?;
            Curve::client(key, read_public(Path::new(server))?).into()
        }
        (Some(key), None, Some(allow), None) => {
            let key = read_secret(Path::new(key))?;
            let allowed = match allow {
                "anybody" => Allowed::Anybody,
                list => Allowed::Keys(read_allowed(Path::new(list))?.into()),
            };
            Curve::server(key, allowed).into()
        }
        _ => {
            return Err(Error::Endpoint(EndpointError::Address {
                address: at.to_string(),
                fault: "key= goes with server=, the public key of the other side, or with allow=, who may come in; and \
                        login= with none of them",
            }));
        }
    };
    Ok(secured.0.unwrap_or_else(|| Arc::new(Security::Null)))
}

fn plain(path: &Path, listens: bool) -> Result<Secured, KeyFileError> {
    let text = read_logins(path)?;
    let logins = || {
        text.lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty())
    };
    let wrong = |line| KeyFileError::Login {
        path: path.to_owned(),
        line,
    };
    let mut split = Vec::new();
    for (login, line) in logins() {
        split.push(login.split_once(' ').ok_or_else(|| wrong(line))?);
    }
    let made = match split.as_slice() {
        _ if listens => Plain::server(split),
        [(name, password)] => Plain::client(name, password),
        _ => None,
    };
    Ok(made.ok_or_else(|| wrong(1))?.into())
}
