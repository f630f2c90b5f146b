//! Who may hold how many bytes: the rules, without locks and clocks.
//!
//! Bytes are of two kinds. What a connection *promises* its peer may come at any time and must have its place: a quarter of a
//! budget is for promises, and a connection that has much of it gets less with its next one. A message that is larger than its
//! peer's promise is within none: it *claims* its bytes, and gets them as they come, of the other three quarters.
//!
//! Two messages that each had half of the room would wait for each other for ever. So a claim gets bytes only if afterwards
//! everybody who could finish before still can, one after another (the banker's algorithm). Claims that have nothing yet wait
//! behind those that wait already, so that a large one is not passed by small ones for ever. Small ones for which there is room
//! pass all the same, as long as those that did have little together: whoever waits and never goes on stops only large ones.
//!
//! All that assumes that a message that has come is taken. Its program may wait for the very peer that waits for room, so a
//! claim that has waited long behind such messages alone gets its bytes over the limit, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Budgets of bytes, and what is taken of them.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    levels: BTreeMap<u64, Level>,
    claims: BTreeMap<u64, Claim>,
    last: u64,
    /// The claim that has bytes over the limit.
    over: Option<u64>,
    /// A forked child has none of what its parent has.
    pub(super) forks: u32,
}

/// One budget.
#[derive(Clone, Debug)]
struct Level {
    limit: u64,
    /// The budget that it is part of.
    whole: Option<u64>,
    promised: u64,
    held: u64,
}

/// A message that is within no promise.
#[derive(Clone, Debug)]
struct Claim {
    level: u64,
    total: u64,
    held: u64,
    /// Its message has come, and no call has returned it.
    is_whole: bool,
    waits: Option<Wait>,
    /// It got its room before others that waited.
    has_passed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When it asked first.
    since: Instant,
    /// When it asked last.
    asked: Instant,
    /// The whole is short, and not only its own budget.
    is_for_whole: bool,
}

/// Why a claim gets nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// Others must be done first.
    Now { used: u64, limit: u64 },
    /// It is more than there is at all.
    Ever { most: u64 },
}

/// What every connection may promise, however many there are. With it small messages always move.
pub(crate) const LEAST: u64 = 64 << 10;

/// This part of a budget is for promises.
const PROMISES: u64 = 4;

/// A promise is this part of what is left for promises, so that several can be made: the first one of a connection, and one to a
/// peer that sends much.
const FIRST: u64 = 64;
const LATER: u64 = 4;

/// What a message takes beside its payload and its header: its preamble and place, checksums for a payload of so many bytes, and
/// what each byte of the header takes: itself, what it becomes, and what is written for each buffer that it names.
const PLACE: u64 = 4 << 10;
const CHECKSUMS: u64 = 4 << 10;
const HEADER: u64 = 1 + 32 + 16;

/// A claim gets so many bytes at least, and as many again as it has.
const STEP: u64 = 1 << 20;

/// This part of the room is for claims that pass others. The largest payload fits beside it.
const PASSING: u64 = 16;

/// A claim that has not asked for so long waits for nothing: its program is elsewhere.
const FRESH: Duration = Duration::from_secs(1);

impl Bank {
    pub(super) const fn new() -> Self {
        Self {
            levels: BTreeMap::new(),
            claims: BTreeMap::new(),
            last: 0,
            over: None,
            forks: 0,
        }
    }

    /// Makes a budget, as a part of `whole`.
    pub(super) fn open(&mut self, limit: u64, whole: Option<u64>) -> u64 {
        self.last += 1;
        let level = Level {
            limit,
            whole,
            promised: 0,
            held: 0,
        };
        self.levels.insert(self.last, level);
        self.last
    }

    /// Removes a budget that nobody uses.
    pub(super) fn close(&mut self, level: u64) {
        self.levels.remove(&level);
    }

    pub(super) fn set_limit(&mut self, level: u64, limit: u64) {
        if let Some(level) = self.levels.get_mut(&level) {
            level.limit = limit;
        }
    }

    /// Bytes in use of a budget, and its limit.
    pub(super) fn used(&self, level: u64) -> (u64, u64) {
        let level = self.levels.get(&level);
        level.map_or((0, 0), |level| (level.promised + level.held, level.limit))
    }

    /// Forgets everything that is taken.
    pub(super) fn reset(&mut self) {
        self.claims.clear();
        for level in self.levels.values_mut() {
            (level.promised, level.held) = (0, 0);
        }
    }

    /// The largest payload up to `most` that fits into a budget, and the longest header that fits with it.
    pub(super) fn largest(&self, level: u64, most: u64) -> (u64, u64) {
        let smallest = self.path(level).map(|(_, level)| level);
        let Some(smallest) = smallest.min_by_key(|level| level.limit) else {
            return (0, 0);
        };
        let payload = most.min(smallest.limit - smallest.limit / 3);
        let around = PLACE + payload / CHECKSUMS;
        let left = smallest.for_claims().saturating_sub(payload);
        // Every connection has room for the least.
        let left = left.saturating_sub(around).max(LEAST - PLACE);
        (payload, left / HEADER)
    }

    /// What a connection may promise, that has `own` bytes now and cannot have less than `floor`. Returns what it is to
    /// promise, and what it has now, which is not less.
    pub(super) fn promise(
        &mut self,
        level: u64,
        own: u64,
        floor: u64,
        most: u64,
        is_first: bool,
    ) -> (u64, u64) {
        let left = self.path(level).map(|(_, level)| {
            let others = level.promised.saturating_sub(own);
            (level.limit / PROMISES).saturating_sub(others)
        });
        let part = if is_first { FIRST } else { LATER };
        let promise = left.min().unwrap_or(0) / part;
        let promise = promise.max(LEAST).min(most);
        let has = promise.max(floor);
        self.change(level, |level| {
            level.promised = level.promised.saturating_sub(own).saturating_add(has);
        });
        (promise, has)
    }

    /// A connection promises nothing any more.
    pub(super) fn give_back(&mut self, level: u64, own: u64) {
        self.change(level, |level| {
            level.promised = level.promised.saturating_sub(own);
        });
    }

    /// A message of `total` bytes begins. It has nothing yet.
    pub(super) fn claim(&mut self, level: u64, total: u64) -> u64 {
        self.last += 1;
        let claim = Claim {
            level,
            total,
            held: 0,
            is_whole: false,
            waits: None,
            has_passed: false,
        };
        self.claims.insert(self.last, claim);
        self.last
    }

    /// Gives a claim `bytes` in all, or more. Returns how many it has.
    pub(super) fn cover(&mut self, id: u64, bytes: u64, now: Instant) -> Result<u64, Short> {
        let Some(claim) = self.claims.get(&id) else {
            return Ok(u64::MAX);
        };
        let (level, total, held) = (claim.level, claim.total, claim.held);
        let bytes = bytes.min(total);
        if bytes <= held {
            return Ok(held);
        }
        let mosts = self.path(level).map(|(_, level)| level.for_claims());
        if let Some(most) = mosts.min().filter(|&most| most < total) {
            return Err(Short::Ever { most });
        }
        // Less than a little is not worth a system call.
        let step = |more: u64| bytes.max(held.saturating_add(more)).min(total);
        let (generous, little) = (step(held.max(STEP)), step(LEAST));
        let is_granted = if held > 0 || !self.is_behind(id, now) {
            self.grant(id, generous) || (little < generous && self.grant(id, little))
        } else {
            self.pass(id)
        };
        if is_granted {
            return Ok(self.claims.get(&id).map_or(u64::MAX, |claim| claim.held));
        }
        let short = self.wait(id, now);
        if self.waits_for_programs(id, now) {
            self.hold(id, total);
            self.over = Some(id);
            return Ok(total);
        }
        Err(short)
    }

    /// The message of a claim has come.
    pub(super) fn is_whole(&mut self, id: u64) {
        if let Some(claim) = self.claims.get_mut(&id) {
            claim.is_whole = true;
        }
    }

    /// A message is taken, or will never be whole.
    pub(super) fn end(&mut self, id: u64) {
        if let Some(claim) = self.claims.remove(&id) {
            self.change(claim.level, |level| {
                level.held = level.held.saturating_sub(claim.held);
            });
        }
    }

    /// True if a claim has waited long, and nothing comes of those whose bytes it needs: each of them is whole, or waits too.
    fn waits_for_programs(&self, id: u64, now: Instant) -> bool {
        let Some(claim) = self.claims.get(&id) else {
            return false;
        };
        let waited = |wait: &Wait| now.saturating_duration_since(wait.since) >= FRESH;
        let is_one_over = self
            .over
            .is_some_and(|over| self.claims.contains_key(&over));
        if is_one_over || !claim.waits.as_ref().is_some_and(waited) {
            return false;
        }
        let need = claim.total - claim.held;
        let short = self.path(claim.level).filter(|(_, one)| one.free() < need);
        let short: BTreeSet<u64> = short.map(|(level, _)| level).collect();
        let is_in_the_way = |other: &Claim| {
            other.held > 0 && self.path(other.level).any(|(one, _)| short.contains(&one))
        };
        let others = self.claims.iter().filter(|(other, _)| **other != id);
        let mut any_whole = false;
        for (_, other) in others.filter(|(_, other)| is_in_the_way(other)) {
            let is_stuck = other.waits.is_some_and(|wait| wait.is_fresh(now));
            if !other.is_whole && !is_stuck {
                return false;
            }
            any_whole |= other.is_whole;
        }
        any_whole
    }

    /// True if a claim that began before it waits for the same bytes.
    fn is_behind(&self, id: u64, now: Instant) -> bool {
        let level = self.claims.get(&id).map(|claim| claim.level);
        self.claims.range(..id).any(|(_, other)| {
            let is_same = |wait: &Wait| wait.is_for_whole || Some(other.level) == level;
            other
                .waits
                .as_ref()
                .filter(|wait| wait.is_fresh(now))
                .is_some_and(is_same)
        })
    }

    /// Lets a claim be whole at once before those that wait, if it is small and few have done so.
    fn pass(&mut self, id: u64) -> bool {
        let Some(claim) = self.claims.get(&id) else {
            return false;
        };
        let total = claim.total;
        let passing = self.claims.values().filter(|other| other.has_passed);
        let passing: u64 = passing.map(|other| other.held).sum();
        let has_room = |level: &Level| {
            level.free() >= total && passing.saturating_add(total) <= level.for_claims() / PASSING
        };
        if !self.path(claim.level).all(|(_, level)| has_room(level)) {
            return false;
        }
        self.hold(id, total);
        if let Some(claim) = self.claims.get_mut(&id) {
            claim.has_passed = true;
        }
        true
    }

    /// Notes that a claim waits, and says for what.
    fn wait(&mut self, id: u64, now: Instant) -> Short {
        let claim = self.claims.get(&id);
        let (level, need) = claim.map_or((0, 0), |claim| (claim.level, claim.total - claim.held));
        let mut path = self.path(level);
        // If none of them is short, others need the room first.
        let short = path.find(|(_, one)| one.free() < need);
        let short = short.or_else(|| self.path(level).last());
        let (used, limit, is_for_whole) = short.map_or((0, 0, true), |(_, one)| {
            (one.held, one.for_claims(), one.whole.is_none())
        });
        drop(path);
        if let Some(claim) = self.claims.get_mut(&id) {
            let before = claim.waits.filter(|wait| wait.is_fresh(now));
            claim.waits = Some(Wait {
                since: before.map_or(now, |wait| wait.since),
                asked: now,
                is_for_whole,
            });
        }
        Short::Now { used, limit }
    }

    /// Lets a claim have `bytes` in all, unless that keeps it or another one from ever being whole.
    fn grant(&mut self, id: u64, bytes: u64) -> bool {
        let Some(claim) = self.claims.get(&id) else {
            return false;
        };
        let (level, held) = (claim.level, claim.held);
        let (more, need) = (bytes - held, claim.total - held);
        let has = |bytes: u64| self.path(level).all(|(_, level)| level.free() >= bytes);
        if !has(more) {
            return false;
        }
        // It could be whole before all others, and they have what it has then.
        if has(need) {
            self.hold(id, bytes);
            return true;
        }
        let before = self.finishable(id);
        self.hold(id, bytes);
        let after = self.finishable(id);
        if after.contains(&id) && before.iter().all(|one| after.contains(one)) {
            return true;
        }
        self.hold(id, held);
        false
    }

    fn hold(&mut self, id: u64, bytes: u64) {
        let Some(claim) = self.claims.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut claim.held, bytes);
        claim.waits = None;
        let level = claim.level;
        self.change(level, |level| {
            level.held = (level.held - before).saturating_add(bytes)
        });
    }

    /// The claims that can be whole, if those that are whole are taken, one after another: `asks`, and those that have something.
    /// The others hold up nobody, and can be whole after these if they could before.
    fn finishable(&self, asks: u64) -> BTreeSet<u64> {
        let mut free: BTreeMap<u64, u64> = BTreeMap::new();
        let holders = self.claims.iter();
        let mut left: Vec<(&u64, &Claim)> = holders
            .filter(|&(&id, claim)| claim.held > 0 || id == asks)
            .collect();
        for (_, claim) in &left {
            for (number, level) in self.path(claim.level) {
                free.entry(number).or_insert_with(|| level.free());
            }
        }
        // Within one budget, whoever needs least can be first: one pass finds all then.
        left.sort_by_key(|(_, claim)| claim.total - claim.held);
        let mut done = BTreeSet::new();
        loop {
            let count = left.len();
            left.retain(|&(&id, claim)| {
                let need = claim.total - claim.held;
                let mut path = self.path(claim.level);
                if path.any(|(level, _)| free.get(&level).is_none_or(|&free| free < need)) {
                    return true;
                }
                for (level, _) in self.path(claim.level) {
                    free.entry(level).and_modify(|free| *free += claim.held);
                }
                done.insert(id);
                false
            });
            if left.len() == count || left.is_empty() {
                return done;
            }
        }
    }

    /// A budget, and those that it is part of.
    fn path(&self, level: u64) -> impl Iterator<Item = (u64, &Level)> {
        let find = |id: u64| self.levels.get(&id).map(|level| (id, level));
        std::iter::successors(find(level), move |(_, level)| level.whole.and_then(find))
    }

    fn change(&mut self, level: u64, mut change: impl FnMut(&mut Level)) {
        let mut next = Some(level);
        while let Some(level) = next.and_then(|id| self.levels.get_mut(&id)) {
            change(level);
            next = level.whole;
        }
    }
}

impl Wait {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < FRESH
    }
}

impl Level {
    fn for_claims(&self) -> u64 {
        self.limit - self.limit / PROMISES
    }

    fn free(&self) -> u64 {
        self.for_claims().saturating_sub(self.held)
    }
}

#[cfg(test)]
mod tests;
