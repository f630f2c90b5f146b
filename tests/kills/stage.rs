//! One run: a victim whose system calls are decided about, a survivor that has to make the best of it, and this process,
//! which decides and uses nothing of the library itself.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::unistd::{alarm, chdir};
use numpush::Error;
use numpush::transfer::Ready;
use numpush_tests::{
    Ended, Forked, PATIENCE, TempPath, Traced, Verdict, call_name, eventually, open_descriptors,
    trace_me,
};

/// Who is killed, and who has to live with it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) scheme: &'static str,
    pub(crate) victim: fn(&mut Victim) -> Result<(), Error>,
    pub(crate) survivor: fn(&mut Survivor),
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// The survivor came to a good end: it found all as it should be, in time.
    pub(crate) survived: bool,
    /// What the victim said of its end: `well`, or its error.
    pub(crate) said: String,
    /// Names that are left in the folder of the socket.
    pub(crate) names: Vec<String>,
}

/// The line to the survivor, for whoever decides.
pub(crate) struct Director(BufReader<UnixStream>);

impl Director {
    /// Holds the victim where it is, until the survivor has tried what it does beside a peer that stands still.
    pub(crate) fn holds(&mut self) {
        let _ = writeln!(self.0.get_mut(), "held");
        let _ = self.0.read_line(&mut String::new());
    }
}

/// Runs a case. `decide` is asked before each call of the victim that others may notice, by its name.
pub(crate) fn run(
    case: &Case,
    mut decide: impl FnMut(&'static str, &mut Director) -> Verdict,
) -> Outcome {
    let folder = TempPath::new(case.name);
    std::fs::create_dir(&folder.0).unwrap();
    let asked = match case.scheme {
        "tcp" => "tcp://127.0.0.1:0".to_owned(),
        _ => format!("unix:{}/socket", folder.0.display()),
    };
    let (line, theirs) = UnixStream::pair().unwrap();
    let mut director = Director(BufReader::new(line));
    let (voice, victims) = UnixStream::pair().unwrap();
    let survivor = {
        let asked = asked.clone();
        let lines = [theirs, voice];
        Forked::start(move || live(case, asked, lines))
    };
    let victim = Traced::start(move || suffer(case, asked, victims));
    let mut is_over = false;
    let ended = victim.follow(|number| match call_name(number) {
        "" => Verdict::Go,
        name => {
            is_over |= name == "chdir";
            if is_over {
                Verdict::Go
            } else {
                decide(name, &mut director)
            }
        }
    });
    let line = &mut director.0;
    let _ = writeln!(line.get_mut(), "gone");
    let mut said = String::new();
    let _ = line.read_line(&mut said);
    let survived = survivor.exit_code() == Some(0);
    let entries = std::fs::read_dir(&folder.0).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    Outcome {
        ended,
        survived,
        said: said.trim().to_owned(),
        names: names.collect(),
    }
}

/// What the victim has, in its own process.
pub(crate) struct Victim {
    pub(crate) asked: String,
    voice: BufReader<UnixStream>,
    before: usize,
}

impl Victim {
    /// The address that the survivor listens at.
    pub(crate) fn hears(&mut self) -> String {
        let mut line = String::new();
        self.voice.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// From here on it may be killed.
    pub(crate) fn begins(&mut self) {
        self.before = open_descriptors();
        trace_me();
    }

    /// From here on it is left alone, and looks whether it has closed what it had opened.
    fn ends(&self) {
        chdir(".").unwrap();
        eventually("the victim has closed what it opened", || {
            open_descriptors() <= self.before
        });
    }

    /// Says a word that the survivor hears, though the victim is killed then.
    pub(crate) fn says(&mut self, word: &str, value: impl Display) {
        // One call, which no test lets fail.
        let line = format!("{word} {value}\n");
        let _ = self.voice.get_mut().write_all(line.as_bytes());
    }
}

fn suffer(case: &Case, asked: String, voice: UnixStream) -> bool {
    alarm::set(u32::try_from(PATIENCE.as_secs()).unwrap());
    let mut victim = Victim {
        asked,
        voice: BufReader::new(voice),
        before: 0,
    };
    match (case.victim)(&mut victim) {
        Ok(()) => victim.says("well", ""),
        Err(error) => victim.says("error", format!("{error:?}").replace('\n', " ")),
    }
    victim.ends();
    true
}

/// What the survivor has, in its own process.
pub(crate) struct Survivor {
    pub(crate) asked: String,
    line: BufReader<UnixStream>,
    voice: BufReader<UnixStream>,
    is_gone: bool,
    /// The victim stands still, and waits for [`Self::answers`].
    pub(crate) is_held: bool,
    /// What the victim has said.
    pub(crate) words: Vec<(String, String)>,
}

impl Survivor {
    /// Tells the victim an address.
    pub(crate) fn tells(&mut self, address: &str) {
        writeln!(self.voice.get_mut(), "{address}").unwrap();
    }

    /// True once the victim has ended, and the kernel has closed all that it had.
    pub(crate) fn is_gone(&mut self) -> bool {
        while !self.is_gone && is_readable(self.line.get_ref()) {
            self.obeys();
        }
        self.is_gone
    }

    /// Lets a victim that is held go on.
    pub(crate) fn answers(&mut self) {
        if std::mem::take(&mut self.is_held) {
            writeln!(self.line.get_mut(), "seen").unwrap();
        }
    }

    /// Waits until there is something to read at `descriptor`, or the victim is gone.
    pub(crate) fn waits(&mut self, descriptor: BorrowedFd<'_>) {
        if !self.is_gone() && !self.is_held {
            let both = [descriptor, self.line.get_ref().as_fd()];
            numpush_os::wait(&both.map(|one| (one, Ready::READ)), None).unwrap();
        }
    }

    /// Waits until the victim is gone.
    pub(crate) fn waits_for_the_end(&mut self) {
        while !self.is_gone {
            self.obeys();
            self.answers();
        }
    }

    /// The address that the victim listens at; none if it ended before it said so.
    pub(crate) fn hears(&mut self) -> Option<String> {
        while !is_readable(self.voice.get_ref()) {
            if self.is_gone() && !is_readable(self.voice.get_ref()) {
                return None;
            }
            self.answers();
            let both = [self.voice.get_ref().as_fd(), self.line.get_ref().as_fd()];
            numpush_os::wait(&both.map(|one| (one, Ready::READ)), None).unwrap();
        }
        let (_, address) = self.word().filter(|(word, _)| word == "address")?;
        Some(address)
    }

    /// Takes in what the victim has said. It is gone, so that is all.
    pub(crate) fn listens(&mut self) {
        assert!(self.is_gone);
        // Nothing more is written, whoever has the other end.
        self.voice.get_ref().set_nonblocking(true).unwrap();
        while self.word().is_some() {}
    }

    /// What the victim has said with `word`.
    pub(crate) fn said<'s>(&'s self, word: &'s str) -> impl Iterator<Item = &'s str> {
        let all = self.words.iter().filter(move |(said, _)| said == word);
        all.map(|(_, value)| value.as_str())
    }

    fn word(&mut self) -> Option<(String, String)> {
        let mut line = String::new();
        let len = self.voice.read_line(&mut line).unwrap_or(0);
        let (word, value) = line[..len]
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| (line.trim(), ""));
        let word = (word.to_owned(), value.to_owned());
        self.words.extend((len > 0).then(|| word.clone()));
        (len > 0).then_some(word)
    }

    /// Does what the next word of the director says.
    fn obeys(&mut self) {
        let mut line = String::new();
        self.line.read_line(&mut line).unwrap();
        match line.trim() {
            "gone" => self.is_gone = true,
            "held" => self.is_held = true,
            word => panic!("{word:?}"),
        }
    }
}

fn is_readable(stream: &UnixStream) -> bool {
    let now = Some(std::time::Instant::now());
    numpush_os::wait(&[(stream.as_fd(), Ready::READ)], now).unwrap()[0].read
}

fn live(case: &Case, asked: String, [line, voice]: [UnixStream; 2]) -> bool {
    alarm::set(u32::try_from(PATIENCE.as_secs()).unwrap());
    let mut survivor = Survivor {
        asked,
        line: BufReader::new(line),
        voice: BufReader::new(voice),
        is_gone: false,
        is_held: false,
        words: Vec::new(),
    };
    let before = (open_descriptors(), mappings());
    (case.survivor)(&mut survivor);
    // A thread of the library may be the last that lets go of a connection.
    eventually("nothing is open and mapped that was not before", || {
        (open_descriptors(), mappings()) == before
    });
    let mut last = survivor.words.iter();
    if let Some((word, text)) = last.find(|(word, _)| word == "well" || word == "error") {
        writeln!(survivor.line.get_mut(), "{word} {text}").unwrap();
    }
    true
}

/// Mappings of shared memory in this process.
fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:")).count()
}
