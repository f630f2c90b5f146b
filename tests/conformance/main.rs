//! One suite over all transports. A scheme that is not enrolled below fails `every_scheme_is_enrolled`.

mod capabilities;
mod ends;
mod errors;
mod exchange;
mod rig;
mod schemes;

use numpush::transfer::Scheme;

use capabilities::capabilities_are_kept;
use ends::{
    a_receiver_that_does_not_read_stops_the_sender, close_is_seen_after_the_last_message,
    flush_waits_for_the_peer, what_was_sent_before_a_drop_arrives,
};
use errors::{
    a_message_that_breaks_the_format_is_an_error_and_harms_nothing,
    a_message_too_large_is_an_error_and_harms_nothing,
    a_wait_for_a_message_ends_in_time_and_harms_nothing, nobody_there_is_told_in_time,
    the_peers_limit_counts_too,
};
use exchange::{
    both_sides_may_send_at_once, every_kind_arrives_as_it_was, large_messages_arrive,
    many_messages_keep_their_order, many_messages_of_one_call_keep_their_order,
    requests_are_answered, several_links_do_not_mix, what_is_sent_may_change_afterwards,
};
use rig::Rig;

/// Tests of the function names given, each over a rig of its own.
macro_rules! cases {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            super::$case(&rig());
        })*
    };
}

/// What links do whose ends answer each other.
macro_rules! two_way {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            many_messages_keep_their_order
            many_messages_of_one_call_keep_their_order
            both_sides_may_send_at_once
            requests_are_answered
            several_links_do_not_mix
            large_messages_arrive
            a_wait_for_a_message_ends_in_time_and_harms_nothing
            a_message_too_large_is_an_error_and_harms_nothing
            the_peers_limit_counts_too
            a_message_that_breaks_the_format_is_an_error_and_harms_nothing
            close_is_seen_after_the_last_message
            what_was_sent_before_a_drop_arrives
            flush_waits_for_the_peer
            a_receiver_that_does_not_read_stops_the_sender
            what_is_sent_may_change_afterwards
            capabilities_are_kept
        }
    };
}

/// What links do that carry messages from one end to the other.
macro_rules! one_way {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            many_messages_keep_their_order
            many_messages_of_one_call_keep_their_order
            large_messages_arrive
            a_wait_for_a_message_ends_in_time_and_harms_nothing
            a_message_too_large_is_an_error_and_harms_nothing
            the_peers_limit_counts_too
            a_message_that_breaks_the_format_is_an_error_and_harms_nothing
            what_is_sent_may_change_afterwards
            capabilities_are_kept
            nobody_there_is_told_in_time
        }
    };
}

/// What links do that carry one message and its answer in turn.
macro_rules! asking {
    () => {
        cases! { requests_are_answered capabilities_are_kept }
    };
}

/// What links do that carry one message.
macro_rules! single {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            large_messages_arrive
            what_is_sent_may_change_afterwards
            capabilities_are_kept
        }
    };
}

/// A module of `$cases` for each rig. A scheme without a rig fails.
macro_rules! suites {
    ($($name:ident: $cases:ident, $rig:expr;)*) => {
        $(mod $name {
            use super::*;

            fn rig() -> Rig {
                $rig
            }

            $cases!();
        })*

        #[test]
        fn every_scheme_is_enrolled() {
            let enrolled = [$($rig.scheme),*];
            for scheme in Scheme::ALL {
                assert!(enrolled.contains(&scheme), "{scheme} is in no suite");
            }
        }
    };
}

const MANY: usize = 1000;

suites! {
    inproc: two_way, Rig::new(Scheme::Inproc, ("", ""), MANY);
    tcp: two_way, Rig::new(Scheme::Tcp, ("", ""), MANY);
    tcp_with_checksums: two_way, Rig::new(Scheme::Tcp, ("?checksums=on", ""), MANY);
    unix: two_way, Rig::new(Scheme::Unix, ("", ""), MANY);
    unix_with_checksums: two_way, Rig::new(Scheme::Unix, ("", "?checksums=on"), MANY);
    file_folder: two_way, Rig::new(Scheme::File, ("", ""), MANY);
    file_single: single, Rig::new(Scheme::File, ("", ""), 1);
    zmq_tcp: one_way, Rig::new(Scheme::ZmqTcp, ("", ""), MANY);
    zmq_ipc: one_way, Rig::new(Scheme::ZmqIpc, ("", ""), MANY);
    zmq_requests: asking, Rig::new(Scheme::ZmqTcp, ("?socket=rep", "?socket=req"), MANY);
}

mod nobody {
    use super::*;

    #[test]
    fn listens_at_any_scheme_that_can_tell() {
        for scheme in [Scheme::Inproc, Scheme::Tcp, Scheme::Unix] {
            nobody_there_is_told_in_time(&Rig::new(scheme, ("", ""), MANY));
        }
    }
}
