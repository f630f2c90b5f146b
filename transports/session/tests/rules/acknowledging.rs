use numpush_message::RecordKind;
use numpush_session::{Acknowledge, Config, Debt, Event, Inbound, Tag};

use crate::kit::{
    ack, ancillary, config, control, drain, encoder, fault, feed, hear, inbound, message, outbound,
    preambles, send, text, violation, write_some,
};

/// Messages 1 to `count` come, those in `skipped` as ancillary ones. Returns the others, to be taken.
fn come(inbound: &mut Inbound<u32>, count: u64, skipped: &[u64]) -> Vec<numpush_message::Preamble> {
    let mut taken = Vec::new();
    for id in 1..=count {
        let mut record = message(5, id, 0);
        if skipped.contains(&id) {
            record = ancillary(record);
        }
        for arrival in feed(inbound, &record).unwrap() {
            match arrival.event {
                Event::Message { preamble, .. } => taken.push(preamble),
                Event::Skipped { preamble } => inbound.take(&preamble),
                event => panic!("{event:?}"),
            }
        }
    }
    taken
}

fn policy(acknowledge: Acknowledge) -> Config {
    config().acknowledge(acknowledge)
}

#[test]
fn a_message_is_acknowledged_when_it_is_returned() {
    let mut inbound = inbound(&config());
    let messages = come(&mut inbound, 2, &[]);
    assert_eq!(inbound.debt().ack, 0);
    inbound.take(&messages[0]);
    assert_eq!(inbound.debt().ack, 1);
}

#[test]
fn a_message_is_acknowledged_at_the_next_call() {
    let mut inbound = inbound(&policy(Acknowledge::OnNextCall));
    let messages = come(&mut inbound, 2, &[]);
    inbound.take(&messages[0]);
    assert_eq!(inbound.debt().ack, 0);
    inbound.finish();
    inbound.take(&messages[1]);
    assert_eq!(inbound.debt().ack, 1);
}

#[test]
fn a_message_is_acknowledged_when_it_is_confirmed() {
    let mut inbound = inbound(&policy(Acknowledge::OnConfirm));
    for message in come(&mut inbound, 3, &[]) {
        inbound.take(&message);
    }
    let [one, two, three] = [1, 2, 3].map(|id| inbound.receipt(id).unwrap());
    assert_eq!(three.confirm(), 0);
    assert_eq!(one.confirm(), 1);
    assert_eq!(inbound.debt().ack, 1);
    drop(two);
    assert_eq!(inbound.debt().ack, 1, "what is not confirmed never is");
}

#[test]
fn without_the_policy_there_are_no_receipts() {
    assert!(inbound(&config()).receipt(1).is_none());
}

// Seed 14 of the simulation: the sender waited for ever.
#[test]
fn a_skipped_message_needs_no_confirmation() {
    let mut inbound = inbound(&policy(Acknowledge::OnConfirm));
    come(&mut inbound, 2, &[1, 2]);
    assert_eq!(inbound.debt().ack, 2);
}

// Seed 15: a sender with a full window waited for a call of a program that waited for the sender.
#[test]
fn a_skipped_message_needs_no_call() {
    let mut inbound = inbound(&policy(Acknowledge::OnNextCall));
    let messages = come(&mut inbound, 3, &[1, 3]);
    assert_eq!(inbound.debt().ack, 1);
    inbound.take(&messages[0]);
    assert_eq!(inbound.debt().ack, 1);
    inbound.finish();
    assert_eq!(inbound.debt().ack, 3);
}

#[test]
fn a_skipped_message_acknowledges_none_before_it() {
    let mut inbound = inbound(&config());
    let messages = come(&mut inbound, 3, &[2, 3]);
    assert_eq!(inbound.debt().ack, 0);
    inbound.take(&messages[0]);
    assert_eq!(inbound.debt().ack, 3);
}

#[test]
fn an_acknowledgement_that_falls_is_a_fault() {
    let mut inbound = inbound(&config());
    feed(&mut inbound, &ack(5, 65_536)).unwrap();
    feed(&mut inbound, &message(5, 1, 5)).unwrap();
    let fault = fault(&mut inbound, &message(5, 2, 4));
    assert_eq!(violation(&fault), "it takes an acknowledgement back");
}

#[test]
fn every_record_acknowledges() {
    for kind in [RecordKind::Ping, RecordKind::Release, RecordKind::Close] {
        let mut inbound = inbound(&config());
        let arrivals = feed(&mut inbound, &control(kind, 0, 0, 4)).unwrap();
        assert_eq!(arrivals[0].ack, 4);
    }
}

#[test]
fn what_was_not_written_whole_cannot_be_acknowledged() {
    let mut outbound = outbound(&config(), config().hello);
    send(&mut outbound, 5);
    let text = text(5);
    let mut two = encoder(&text);
    outbound.begin(&mut two, Tag::default()).unwrap();
    let pong = || Event::Pong { argument: 0 };
    let text = violation(&hear(&mut outbound, 2, pong()).unwrap_err());
    assert_eq!(text, "it acknowledges a message that was never sent");
    outbound.departed(&two);
    two.advance(10);
    hear(&mut outbound, 2, pong()).unwrap_err();
    hear(&mut outbound, 0, Event::Released { id: 2 }).unwrap_err();
    outbound.keep(two.into_owned().0, Vec::new());
    hear(&mut outbound, 2, pong()).unwrap_err();
    drain(&mut outbound);
    hear(&mut outbound, 2, Event::Released { id: 2 }).unwrap();
    assert_eq!(outbound.status().in_flight, 0);
}

#[test]
fn what_is_written_never_takes_an_acknowledgement_back() {
    let mut outbound = outbound(&config(), config().hello);
    let owe = |ack| Debt {
        ack,
        ..Debt::default()
    };
    outbound.owe(owe(1));
    let text = text(5);
    let mut encoder = encoder(&text);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    // The message is stamped with 1; what goes before it tells 2.
    outbound.owe(owe(2));
    outbound.pay();
    outbound.keep(encoder.into_owned().0, Vec::new());
    let acks: Vec<_> = preambles(&drain(&mut outbound))
        .iter()
        .map(|preamble| preamble.ack)
        .collect();
    assert_eq!(acks, [2, 2]);
    assert!(!outbound.owes_ack());
}

#[test]
fn what_a_message_would_have_told_is_owed_again_when_it_is_taken_back() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.owe(Debt {
        ack: 3,
        ..Debt::default()
    });
    let text = text(5);
    let mut encoder = encoder(&text);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    outbound.keep(encoder.into_owned().0, Vec::new());
    assert!(!outbound.owes_ack());
    assert!(outbound.take_back());
    assert!(outbound.owes_ack() && outbound.is_drained());
    assert_eq!(outbound.last_id(), 0);
    outbound.pay();
    assert_eq!(preambles(&drain(&mut outbound))[0].ack, 3);
}

#[test]
fn small_messages_share_an_acknowledgement() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.owe(Debt {
        ack: 63,
        ..Debt::default()
    });
    assert!(!outbound.is_due());
    outbound.owe(Debt {
        ack: 64,
        ..Debt::default()
    });
    assert!(outbound.is_due());
    assert!(outbound.pay());
    assert_eq!(preambles(&drain(&mut outbound)).len(), 1);
}

// Seed 431: a peer that asks, and reads slowly, made us hold an answer to each question.
#[test]
fn a_peer_that_does_not_read_costs_no_memory() {
    let mut outbound = outbound(&config(), config().hello);
    for argument in 0..100_000 {
        hear(&mut outbound, 0, Event::Ping { argument }).unwrap();
        outbound.owe(Debt {
            ack: argument,
            ..Debt::default()
        });
        outbound.pay();
    }
    assert!(outbound.status().queued < 10_000);
    let told = preambles(&drain(&mut outbound));
    let pong = told.iter().rfind(|one| one.kind == RecordKind::Pong);
    assert_eq!(pong.unwrap().payload_len, 99_999, "the last is answered");
    assert_eq!(told.last().unwrap().ack, 99_999);
    assert!(!outbound.owes_ack());
}

#[test]
fn a_queue_that_is_never_quite_empty_does_not_grow() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.ping(0);
    let mut written = Vec::new();
    for _ in 0..10_000 {
        outbound.ping(0);
        let count = write_some(&mut outbound, 64, &mut written).unwrap();
        outbound.written(count);
        written.clear();
    }
    assert!(outbound.status().queued <= 128);
    let held = format!("{outbound:?}").len();
    assert!(held < 100_000, "{held} characters describe what is held");
}

#[test]
fn a_ping_is_answered_with_its_argument() {
    let mut outbound = outbound(&config(), config().hello);
    let argument = u64::MAX;
    hear(&mut outbound, 0, Event::Ping { argument }).unwrap();
    let pong = preambles(&drain(&mut outbound))[0];
    assert_eq!((pong.kind, pong.payload_len), (RecordKind::Pong, u64::MAX));
}
