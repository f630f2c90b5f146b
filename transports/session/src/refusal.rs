use std::fmt;

/// Why a peer refuses to go on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It took what we sent for no message, or we broke the protocol.
    InvalidMessage,
    /// A message was larger than it accepts.
    TooLarge,
    /// Our user may not connect.
    User,
    /// It has too many connections.
    Busy,
    /// It speaks no version of the format that we speak.
    Version,
    /// We sent more than it had granted credit for.
    OverCredit,
    /// A record took too long.
    TooSlow,
    /// It can never have room for a message.
    NoRoom,
    /// It may have no more descriptors open, and memory of ours came for which it needs one.
    NoDescriptors,
    /// A reason this version does not know.
    Unknown(u64),
}

impl Refusal {
    /// The reason as the id of a refuse record.
    pub fn to_wire(self) -> u64 {
        match self {
            Self::InvalidMessage => 1,
            Self::TooLarge => 2,
            Self::User => 3,
            Self::Busy => 4,
            Self::Version => 5,
            Self::OverCredit => 6,
            Self::TooSlow => 7,
            Self::NoRoom => 8,
            Self::NoDescriptors => 9,
            Self::Unknown(code) => code,
        }
    }

    /// The reason that the id of a refuse record names.
    pub fn from_wire(code: u64) -> Self {
        match code {
            1 => Self::InvalidMessage,
            2 => Self::TooLarge,
            3 => Self::User,
            4 => Self::Busy,
            5 => Self::Version,
            6 => Self::OverCredit,
            7 => Self::TooSlow,
            8 => Self::NoRoom,
            9 => Self::NoDescriptors,
            code => Self::Unknown(code),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidMessage => f.write_str("it does not understand what we sent"),
            Self::TooLarge => f.write_str("the message is larger than it accepts"),
            Self::User => f.write_str("our user may not connect"),
            Self::Busy => f.write_str("it has too many connections"),
            Self::Version => f.write_str("it speaks no version of the format that we speak"),
            Self::OverCredit => f.write_str("we sent more than it had granted credit for"),
            Self::TooSlow => f.write_str("what we sent came too slowly"),
            Self::NoRoom => f.write_str("it has no room for the message"),
            Self::NoDescriptors => {
                f.write_str("it may have no more descriptors open (its RLIMIT_NOFILE)")
            }
            Self::Unknown(code) => write!(f, "reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_reason() {
        for code in 0..20 {
            assert_eq!(Refusal::from_wire(code).to_wire(), code);
        }
    }
}
