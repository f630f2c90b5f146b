use numpush_message::{Preamble, RecordKind};
use numpush_session::{Blocked, Event, Fault, Inbound, Refusal, Tag};

use crate::kit::{
    ack, ancillary, config, encoder, fault, feed, hear, inbound, message, outbound, send, text,
    with_credit,
};

fn take_all(inbound: &mut Inbound<u32>, record: &[u8]) {
    for arrival in feed(inbound, record).unwrap() {
        if let Event::Message { preamble, .. } = arrival.event {
            inbound.take(&preamble);
        }
    }
}

fn credit(total: u64, taken: u64) -> Event<u32> {
    Event::Credit { total, taken }
}

fn charge(len: usize) -> u64 {
    let message = text(len);
    encoder(&message).charge()
}

#[test]
fn one_message_always_comes_and_a_second_is_over_credit() {
    let mut inbound = inbound(&with_credit(0));
    feed(&mut inbound, &message(5000, 1, 0)).unwrap();
    assert_eq!(inbound.held(), charge(5000));
    let fault = fault(&mut inbound, &message(5, 2, 0)[..64]);
    let (charge, left) = (charge(5), 0);
    assert_eq!(fault, Fault::OverCredit { charge, left });
    assert_eq!(fault.refusal(), Some(Refusal::OverCredit));
}

#[test]
fn credit_comes_back_when_the_program_takes() {
    let mut inbound = inbound(&with_credit(1000));
    for id in 1..100 {
        take_all(&mut inbound, &message(500, id, 0));
        assert_eq!(inbound.held(), 0);
        assert_eq!(inbound.debt().credit, 1000 + id * charge(500));
    }
}

#[test]
fn control_records_cost_no_credit() {
    let mut inbound = inbound(&with_credit(0));
    feed(&mut inbound, &message(5, 1, 0)).unwrap();
    feed(&mut inbound, &ack(0, 65_536)).unwrap();
}

#[test]
fn an_ancillary_message_is_charged() {
    let mut inbound = inbound(&with_credit(0));
    let record = ancillary(message(500, 1, 0));
    let arrivals = feed(&mut inbound, &record).unwrap();
    assert_eq!(inbound.held(), charge(500));
    let Event::Skipped { preamble } = &arrivals[0].event else {
        panic!()
    };
    inbound.take(preamble);
    assert_eq!((inbound.held(), inbound.debt().credit), (0, charge(500)));
}

#[test]
fn a_sender_without_credit_is_blocked_until_it_is_given_back() {
    let granted = charge(500) + 100;
    let mut outbound = outbound(&config(), with_credit(granted).hello);
    send(&mut outbound, 500);
    let message = text(500);
    let blocked = outbound.begin(&mut encoder(&message), Tag::default());
    assert_eq!(blocked, Err(Blocked::Credit));
    assert_eq!(outbound.status().credit, 100);

    hear(&mut outbound, 1, credit(granted + charge(500), 1)).unwrap();
    let begun = outbound.begin(&mut encoder(&message), Tag::default());
    assert_eq!(begun, Ok(2));
}

#[test]
fn a_sender_may_send_one_message_of_any_size_when_all_is_given_back() {
    let mut outbound = outbound(&config(), with_credit(10).hello);
    send(&mut outbound, 5000);
    assert_eq!(outbound.check(1, 1, 1), Err(Blocked::Credit));
    // Credit alone says nothing of what was taken: its promise may have grown or shrunk meanwhile.
    hear(&mut outbound, 0, credit(5500, 0)).unwrap();
    assert_eq!(outbound.check(5000, 64, 5064), Err(Blocked::Credit));
    hear(&mut outbound, 0, credit(5500, 1)).unwrap();
    send(&mut outbound, 100_000);
}

#[test]
fn what_was_not_sent_cannot_be_taken() {
    let mut outbound = outbound(&config(), with_credit(10).hello);
    send(&mut outbound, 5);
    hear(&mut outbound, 0, credit(10, 2)).unwrap_err();
}

#[test]
fn what_was_taken_is_told_though_no_credit_came_of_it() {
    let granted = charge(500) + 100;
    let mut inbound = inbound(&with_credit(granted));
    let mut outbound = outbound(&with_credit(granted), config().hello);
    inbound.promise(0);
    take_all(&mut inbound, &message(500, 1, 0));
    let debt = inbound.debt();
    assert_eq!((debt.credit, debt.taken), (granted, 1));
    outbound.owe(debt);
    assert!(outbound.owes_credit() && outbound.pay());
    let told = crate::kit::preambles(&crate::kit::drain(&mut outbound));
    assert_eq!((told[0].id, told[0].payload_len), (1, granted));
    assert!(!outbound.owes_credit());
}

#[test]
fn a_message_beyond_the_credit_is_known_until_it_is_taken() {
    let mut inbound = inbound(&with_credit(1000));
    take_all(&mut inbound, &message(500, 1, 0));
    assert_eq!(inbound.beyond_credit(), None);
    let record = message(5000, 2, 0);
    feed(&mut inbound, &record[..600]).unwrap();
    assert_eq!(inbound.beyond_credit(), Some(charge(5000)));
    assert_eq!(inbound.come(), 600);
    take_all(&mut inbound, &record[600..]);
    assert_eq!((inbound.beyond_credit(), inbound.come()), (None, 0));
}

#[test]
fn a_driver_without_room_reads_on_later() {
    let mut inbound = inbound(&with_credit(10));
    let record = message(5000, 1, 0);
    feed(&mut inbound, &record[..600]).unwrap();
    let full = numpush_message::AllocError::NoMemory { len: 1 };
    assert!(inbound.no_room(full).is_recoverable());
    take_all(&mut inbound, &record[600..]);
    let (len, max) = (2, 1);
    let fault = inbound.no_room(numpush_message::AllocError::TooLarge { len, max });
    assert_eq!(fault.refusal(), Some(Refusal::NoRoom));
    inbound.spare().unwrap_err();
}

#[test]
fn credit_that_is_taken_back_is_a_fault() {
    let mut outbound = outbound(&config(), with_credit(1000).hello);
    hear(&mut outbound, 0, credit(999, 0)).unwrap_err();
    send(&mut outbound, 5);
    hear(&mut outbound, 0, credit(1000, 1)).unwrap();
    hear(&mut outbound, 0, credit(1000, 0)).unwrap_err();
}

#[test]
fn credit_has_no_end() {
    let mut outbound = outbound(&config(), with_credit(u64::MAX).hello);
    hear(&mut outbound, 0, credit(u64::MAX, 0)).unwrap();
    send(&mut outbound, 5);
    take_all(&mut inbound(&with_credit(u64::MAX)), &message(5, 1, 0));
}

#[test]
fn the_peer_hears_of_credit_before_half_of_it_is_gone() {
    let mut outbound = outbound(&with_credit(1000), config().hello);
    outbound.owe(numpush_session::Debt {
        credit: 1499,
        ..Default::default()
    });
    assert!(!outbound.is_due());
    outbound.owe(numpush_session::Debt {
        credit: 1500,
        ..Default::default()
    });
    assert!(outbound.is_due());
    assert!(outbound.pay());
    assert!(!outbound.is_due() && !outbound.pay());
}

// It was half of the first credit: with a smaller one the peer waited for what was put off.
#[test]
fn what_is_due_follows_the_credit_of_today() {
    let mut outbound = outbound(&with_credit(1000), config().hello);
    let owe = |credit, promise| numpush_session::Debt {
        credit,
        promise: Some(promise),
        ..Default::default()
    };
    outbound.owe(owe(1049, 100));
    assert!(!outbound.is_due());
    outbound.owe(owe(1050, 100));
    assert!(outbound.is_due() && outbound.pay());
    outbound.owe(owe(3049, 4000));
    assert!(!outbound.is_due());
    outbound.owe(owe(3050, 4000));
    assert!(outbound.is_due());
}

#[test]
fn what_is_over_credit_needs_no_room() {
    let mut inbound = inbound(&with_credit(0));
    feed(&mut inbound, &message(5, 1, 0)).unwrap();
    let record = message(5, 2, 0);
    let spare = inbound.spare().unwrap();
    spare[..64].copy_from_slice(&record[..64]);
    let mut full = crate::room::Full;
    let now = std::time::Instant::now();
    inbound.filled(64, None, now, &mut full).unwrap();
    let fault = inbound.next(&mut full).unwrap_err();
    assert!(matches!(fault, Fault::OverCredit { .. }), "{fault}");
}

#[test]
fn references_are_charged_without_their_payload() {
    let preamble = Preamble {
        flags: numpush_message::Flags {
            references: true,
            ..Default::default()
        },
        buffers: 1,
        ..Preamble::control(RecordKind::Bytes, 1, 1 << 40)
    };
    assert!(preamble.charge() < 1000);
}

/// C4: a record of attributes becomes many times its bytes, and was charged those alone.
#[test]
fn what_a_record_becomes_is_charged_too() {
    let attributes = (b'a'..=b'z').map(|name| (char::from(name).to_string(), String::new()));
    let mut message = text(0);
    message.attributes.extend(attributes);
    let encoder = encoder(&message);
    let entry = size_of::<(String, String)>() + size_of::<(usize, usize)>();
    let memory = message.attributes.len() * entry + size_of_val(&message);
    let preamble = encoder.preamble();
    assert!(preamble.record_len() < memory as u64 / 4);
    assert!(preamble.charge() > memory as u64);
}
