//! Faults that are planted in the simulated driver, to prove that the simulation finds them.

/// A fault of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// An arrival is not shown to the other direction.
    ForgetsToHear,
    /// A message counts as taken when it arrives.
    TakesAtArrival,
    /// The credit of a message is given back twice.
    GivesBackTwice,
    /// More credit is told than was given back.
    PaysTwice,
    /// A control record is written in the middle of a message.
    WritesMidway,
    /// What waits behind the first control records is written after the message.
    OvertakesQueue,
    /// A message that was begun long ago is written with the acknowledgement of that time.
    ForgetsToRefresh,
    /// Half a message is taken back.
    CancelsHalf,
    /// The rest of a message is dropped when its time is over.
    DropsRest,
    /// A byte is lost.
    LosesByte,
    /// A read is reported to be longer by a byte.
    CountsByteTwice,
    /// Messages are handed over last first.
    HandsOverBackwards,
    /// A message is handed over twice.
    HandsOverTwice,
    /// A message is lost when there was no room.
    GivesUpWithoutRoom,
    /// A descriptor is reported with the next read.
    LateDescriptor,
    /// Nobody pays what is owed.
    NeverPays,
    /// The end is not reported.
    HidesEnd,
    /// A message is not counted as taken.
    ForgetsToTake,
    /// What a skipped message gives back is not owed before the next call.
    KeepsCreditOfSkipped,
    /// Of two messages that were begun together the second is written first.
    SwapsRun,
    /// That a message behind another one has departed is not reported.
    ForgetsDeparture,
    /// What was queued while a message was half written goes after those that began behind it.
    OvertakesBehind,
}

impl Plant {
    pub(crate) const ALL: [Self; 22] = [
        Self::ForgetsToHear,
        Self::TakesAtArrival,
        Self::GivesBackTwice,
        Self::PaysTwice,
        Self::WritesMidway,
        Self::OvertakesQueue,
        Self::ForgetsToRefresh,
        Self::CancelsHalf,
        Self::DropsRest,
        Self::LosesByte,
        Self::CountsByteTwice,
        Self::HandsOverBackwards,
        Self::HandsOverTwice,
        Self::GivesUpWithoutRoom,
        Self::LateDescriptor,
        Self::NeverPays,
        Self::HidesEnd,
        Self::ForgetsToTake,
        Self::KeepsCreditOfSkipped,
        Self::SwapsRun,
        Self::ForgetsDeparture,
        Self::OvertakesBehind,
    ];
}
