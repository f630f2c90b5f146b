use super::*;

const MIB: u64 = 1 << 20;

/// A bank with 3 MiB for claims, and its budget.
fn small() -> (Bank, u64) {
    let mut bank = Bank::new();
    let level = bank.open(4 * MIB, None);
    (bank, level)
}

/// A connection whose message comes bit by bit.
#[derive(Clone, Debug)]
struct Sender {
    claim: Option<u64>,
    total: u64,
    come: u64,
}

impl Sender {
    fn new(bank: &mut Bank, level: u64, total: u64) -> Self {
        let claim = Some(bank.claim(level, total));
        let come = 0;
        Self { claim, total, come }
    }

    /// Some bytes more come, or the program takes the whole message. True if anything moved.
    fn step(&mut self, bank: &mut Bank, bytes: u64, now: Instant) -> bool {
        let Some(claim) = self.claim else {
            return false;
        };
        if self.come == self.total {
            self.claim = None;
            bank.end(claim);
            return true;
        }
        let wanted = (self.come + bytes).min(self.total);
        match bank.cover(claim, wanted, now) {
            Ok(covered) => {
                assert!(covered >= wanted && covered <= self.total);
                self.come = wanted;
                true
            }
            Err(short) => {
                assert!(matches!(short, Short::Now { .. }), "{short:?}");
                false
            }
        }
    }
}

/// Lets everybody go on in turn until all is taken. False if nobody can.
fn finishes(mut bank: Bank, mut senders: [Sender; 3], now: Instant) -> bool {
    while senders.iter().any(|sender| sender.claim.is_some()) {
        let mut moved = false;
        for sender in &mut senders {
            moved |= sender.step(&mut bank, MIB / 2, now);
        }
        if !moved {
            return false;
        }
    }
    bank.levels.values().all(|level| level.held == 0)
}

/// Three messages of any sizes, whose parts come in any order: from wherever they are all of them can be whole.
#[test]
fn no_order_of_arrivals_is_a_deadlock() {
    let now = Instant::now();
    let mut states = 0;
    for sizes in 0..64 {
        let (mut bank, level) = small();
        let size = |at: u32| [1, 3, 5, 6][sizes >> (2 * at) & 3] * MIB / 2;
        let sizes = [size(0), size(1), size(2)];
        let senders = sizes.map(|total| Sender::new(&mut bank, level, total));
        let mut seen = BTreeSet::new();
        let mut open = vec![(bank, senders)];
        while let Some((bank, senders)) = open.pop() {
            assert!(bank.used(level).0 <= 3 * MIB);
            assert!(finishes(bank.clone(), senders.clone(), now), "{bank:?}");
            for at in 0..senders.len() {
                let (mut bank, mut senders) = (bank.clone(), senders.clone());
                senders[at].step(&mut bank, MIB / 2, now);
                if seen.insert(format!("{bank:?} {senders:?}")) {
                    open.push((bank, senders));
                }
            }
        }
        states += seen.len();
    }
    assert!(states > 10_000, "only {states} states");
}

/// With a plain counter they would: each has half.
#[test]
fn two_that_need_all_do_not_both_begin() {
    let now = Instant::now();
    let (mut bank, level) = small();
    let (one, two) = (bank.claim(level, 3 * MIB), bank.claim(level, 3 * MIB));
    assert_eq!(bank.cover(one, 1, now), Ok(MIB));
    let (used, limit) = (MIB, 3 * MIB);
    assert_eq!(bank.cover(two, 1, now), Err(Short::Now { used, limit }));
    assert_eq!(bank.cover(one, 3 * MIB, now), Ok(3 * MIB));
    bank.end(one);
    assert_eq!(bank.cover(two, 1, now), Ok(MIB));
}

/// Numbers below what is asked, the same for the same seed; xorshift64.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// A hundred connections at two listeners, with a budget each and one together; some die on the way.
#[test]
fn crowds_finish_and_leave_nothing() {
    for seed in 1..9 {
        let mut random = random(seed);
        let mut bank = Bank::new();
        let whole = bank.open(64 * MIB, None);
        let parts = [
            bank.open(u64::MAX, Some(whole)),
            bank.open(20 * MIB, Some(whole)),
        ];
        let mut now = Instant::now();
        let mut senders: Vec<Sender> = (0..100)
            .map(|at| {
                let part = at % 2;
                let most = [48, 15][part];
                let total = LEAST + random(most * MIB - LEAST);
                Sender::new(&mut bank, parts[part], total)
            })
            .collect();
        let mut idle = 0;
        while senders.iter().any(|sender| sender.claim.is_some()) {
            let at = usize::try_from(random(100)).unwrap();
            let bytes = 1 + random(2 * MIB);
            idle += 1;
            if senders[at].step(&mut bank, bytes, now) {
                idle = 0;
            }
            if random(500) == 0
                && let Some(claim) = senders[at].claim.take()
            {
                bank.end(claim);
            }
            now += Duration::from_micros(10);
            assert!(bank.used(whole).0 <= 48 * MIB && bank.used(parts[1]).0 <= 15 * MIB);
            assert!(idle < 20_000, "seed {seed}: nobody goes on");
        }
        assert_eq!(bank.used(whole).0, 0);
    }
}

#[test]
fn who_comes_later_does_not_pass_who_waits() {
    let now = Instant::now();
    let (mut bank, level) = small();
    let first = bank.claim(level, 3 * MIB);
    bank.cover(first, 3 * MIB, now).unwrap();
    let large = bank.claim(level, 3 * MIB);
    bank.cover(large, 1, now).unwrap_err();
    let small = bank.claim(level, MIB / 2);
    bank.end(first);
    bank.cover(small, 1, now).unwrap_err();
    // Its program does something else, and holds up nobody.
    let later = now + FRESH;
    assert_eq!(bank.cover(small, 1, later), Ok(MIB / 2));
    assert_eq!(bank.cover(large, 1, later), Ok(MIB));
}

#[test]
fn who_waits_for_its_own_budget_keeps_up_no_other() {
    let now = Instant::now();
    let mut bank = Bank::new();
    let whole = bank.open(40 * MIB, None);
    let (one, two) = (
        bank.open(4 * MIB, Some(whole)),
        bank.open(4 * MIB, Some(whole)),
    );
    let first = bank.claim(one, 3 * MIB);
    bank.cover(first, 3 * MIB, now).unwrap();
    let waiting = bank.claim(one, 3 * MIB);
    bank.cover(waiting, 1, now).unwrap_err();
    let other = bank.claim(two, 3 * MIB);
    assert_eq!(bank.cover(other, 1, now), Ok(MIB));
}

#[test]
fn what_never_fits_is_named() {
    let now = Instant::now();
    let (mut bank, level) = small();
    assert!(bank.largest(level, u64::MAX).0 < 3 * MIB);
    let claim = bank.claim(level, 3 * MIB + 1);
    assert_eq!(
        bank.cover(claim, 1, now),
        Err(Short::Ever { most: 3 * MIB })
    );
    // A limit that is lowered stops nobody who still fits.
    let held = bank.claim(level, 2 * MIB);
    bank.cover(held, MIB, now).unwrap();
    bank.set_limit(level, 2 * MIB);
    assert!(matches!(
        bank.cover(held, 2 * MIB, now),
        Err(Short::Ever { .. })
    ));
    let small = bank.claim(level, MIB / 2);
    assert_eq!(bank.cover(small, 1, now), Ok(MIB / 2));
}

#[test]
fn promises_shrink_with_use_and_leave_everybody_the_least() {
    let mut bank = Bank::new();
    let whole = bank.open(1 << 30, None);
    let most = 256 * MIB;
    let promises = [0; 20].map(|_| bank.promise(whole, 0, 0, most, true).1);
    assert!(promises.is_sorted_by(|one, next| one >= next));
    assert_eq!((promises[0], promises[1]), (4 * MIB, 4 * MIB - 65_536));
    let (grown, has) = bank.promise(whole, promises[0], promises[0], most, false);
    assert!(grown == has && grown > 40 * MIB, "{grown}");
    // All of them send much: each has as much as the others in the end.
    let mut all = promises;
    all[0] = grown;
    for _ in 0..100 {
        for own in &mut all {
            *own = bank.promise(whole, *own, 0, most, false).1;
        }
    }
    let (low, high) = (all.iter().min().unwrap(), all.iter().max().unwrap());
    assert!(high - low < MIB && *low > 10 * MIB, "{low} to {high}");
    assert!(bank.used(whole).0 <= (1 << 30) / PROMISES);
    let crowd: Vec<u64> = (0..5000)
        .map(|_| bank.promise(whole, 0, 0, most, true).1)
        .collect();
    assert_eq!(crowd.last(), Some(&LEAST));
    // What the peer has cannot be taken back.
    let (promise, has) = bank.promise(whole, all[0], all[0], most, false);
    assert!(promise < has && has == all[0]);
    bank.reset();
    assert_eq!(bank.used(whole).0, 0);
}

#[test]
fn nobody_is_promised_more_than_its_options_say() {
    let (mut bank, level) = small();
    assert_eq!(bank.promise(level, 0, 0, 0, true), (0, 0));
    assert_eq!(bank.promise(level, 0, 0, 1000, true), (1000, 1000));
    bank.give_back(level, 1000);
    assert_eq!(bank.used(level), (0, 4 * MIB));
    bank.close(level);
    assert_eq!(bank.used(level), (0, 0));
}

/// A message with the payload and the header that the peer was told, and all that they become, is within the room.
#[test]
fn what_a_peer_is_told_fits() {
    for limit in [1, 3, 12, 48, 128, 1024, 8192, 1 << 20] {
        for most in [0, 1000, MIB, 1 << 30, u64::MAX] {
            let mut bank = Bank::new();
            let whole = bank.open(limit * MIB, None);
            let level = bank.open(u64::MAX, Some(whole));
            let (payload, header) = bank.largest(level, most);
            assert!(payload <= most && payload <= limit * MIB / 3 * 2 + 2);
            let header = header.min(8 << 20);
            let charge = payload + payload / CHECKSUMS + header * 33 + 512 + 200;
            let claim = bank.claim(level, charge);
            assert_eq!(
                bank.cover(claim, charge, Instant::now()),
                Ok(charge),
                "{limit} MiB, {most}: {payload} and {header}"
            );
        }
    }
    let mut bank = Bank::new();
    let level = bank.open(0, None);
    assert_eq!(bank.largest(level, MIB).0, 0);
    // Of 8 GiB nothing is taken away.
    bank.set_limit(level, 8 << 30);
    assert!(bank.largest(level, 1 << 30).1 > 8 << 20);
}

/// A message that drips and one that waits for it stopped everybody else.
#[test]
fn small_ones_pass_two_strangers_that_never_go_on() {
    let now = Instant::now();
    let mut bank = Bank::new();
    let level = bank.open(128 * MIB, None);
    let drips = bank.claim(level, 90 * MIB);
    bank.cover(drips, 50 * MIB, now).unwrap();
    let waits = bank.claim(level, 90 * MIB);
    while bank.cover(waits, MIB, now).is_ok() && bank.claims[&waits].held < 46 * MIB {
        let more = bank.claims[&waits].held + 1;
        if bank.cover(waits, more, now).is_err() {
            break;
        }
    }
    let before = bank.used(level).0;
    let small: Vec<u64> = (0..100)
        .filter_map(|_| {
            let one = bank.claim(level, 100 << 10);
            let covered = bank.cover(one, 1, now);
            (covered == Ok(100 << 10)).then_some(one)
        })
        .collect();
    // Together they have a sixteenth, so that the one that waits gets its room.
    let passed = bank.used(level).0 - before;
    assert!(passed <= 6 * MIB && small.len() > 50, "{}", small.len());
    let large = bank.claim(level, 7 * MIB);
    bank.cover(large, 1, now).unwrap_err();
    for one in small {
        bank.end(one);
    }
    let next = bank.claim(level, 100 << 10);
    assert_eq!(bank.cover(next, 1, now), Ok(100 << 10));
    bank.end(drips);
    assert_eq!(bank.cover(waits, 90 * MIB, now), Ok(90 * MIB));
}

/// What is looked at for a grant are the claims that have something, and nobody if there is room.
#[test]
fn a_short_cut_grants_what_the_long_way_would() {
    for seed in 1..200 {
        let mut random = random(seed);
        let mut bank = Bank::new();
        let whole = bank.open(64 * MIB, None);
        let parts = [40, 24].map(|limit| bank.open(limit * MIB, Some(whole)));
        for _ in 0..12 {
            let at = usize::try_from(random(2)).unwrap();
            let id = bank.claim(parts[at], MIB + random([28, 16][at] * MIB));
            let total = bank.claims[&id].total;
            let _ = bank.cover(id, 1 + random(total), Instant::now());
        }
        // From wherever it is, everybody can be whole, also who has nothing.
        let mut left: BTreeSet<u64> = bank.claims.keys().copied().collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|&id| {
                let total = bank.claims[&id].total;
                let later = Instant::now() + FRESH;
                let is_whole = bank.cover(id, total, later) == Ok(total);
                if is_whole {
                    bank.end(id);
                }
                !is_whole
            });
            assert!(left.len() < before, "seed {seed}: {bank:?}");
        }
        assert_eq!(bank.used(whole).0, 0);
    }
}

/// What has come is not taken while its program sends to the very peer that waits for room.
#[test]
fn who_waits_behind_whole_messages_alone_gets_room_over_the_limit_one_at_a_time() {
    let (mut bank, level) = small();
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let [first, second, third] = [0; 3].map(|_| bank.claim(level, 2 * MIB));
    assert_eq!(bank.cover(first, 2 * MIB, start), Ok(2 * MIB));
    assert_eq!(bank.cover(second, MIB, start), Ok(MIB));
    let short = Err(Short::Now {
        used: 3 * MIB,
        limit: 3 * MIB,
    });
    // As long as something comes of the first one, nobody gets more.
    for millis in (0..=2000).step_by(500) {
        assert_eq!(bank.cover(second, 2 * MIB, at(millis)), short);
        assert_eq!(bank.cover(third, 1, at(millis)), short);
    }
    bank.is_whole(first);
    assert_eq!(bank.cover(second, 2 * MIB, at(2500)), Ok(2 * MIB));
    bank.is_whole(second);
    let more = Err(Short::Now {
        used: 4 * MIB,
        limit: 3 * MIB,
    });
    for millis in (2500..=5000).step_by(500) {
        assert_eq!(bank.cover(third, 1, at(millis)), more);
    }
    bank.end(second);
    assert_eq!(bank.cover(third, 1, at(5500)), Ok(MIB));
    // Who has not asked for long has not waited.
    assert_eq!(bank.cover(third, 2 * MIB, at(6000)), short);
    assert_eq!(bank.cover(third, 2 * MIB, at(9000)), short);
    assert_eq!(bank.cover(third, 2 * MIB, at(9500)), short);
    assert_eq!(bank.cover(third, 2 * MIB, at(10_000)), Ok(2 * MIB));
    bank.end(first);
    bank.end(third);
    assert_eq!(bank.used(level).0, 0);
}
