//! The command line, read by hand: five options are not worth the build of a parser.

use std::path::PathBuf;

use crate::error::BenchError;

pub(crate) const HELP: &str = "\
Measures every transport on this machine, beside what the machine does without numpush.

Usage: numpush-benches [OPTIONS]
  --full         More sizes and rounds: some minutes instead of half a minute
  --only TEXT    Only cases whose name contains TEXT; given again, also those that contain another text
  --rounds N     Rounds to take the median of: 3, or 5 with --full
  --json FILE    Write all figures to FILE
  --help         Print this
";

/// What to measure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) full: bool,
    pub(crate) only: Vec<String>,
    pub(crate) rounds: Option<usize>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) help: bool,
}

impl Args {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, BenchError> {
        let mut args = Self::default();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| BenchError::Usage(format!("{word} wants a value")))
            };
            match word.as_str() {
                "--full" => args.full = true,
                "--only" => args.only.push(value()?),
                "--rounds" => args.rounds = Some(number(&value()?)?),
                "--json" => args.json = Some(value()?.into()),
                "--help" | "-h" => args.help = true,
                other => {
                    return Err(BenchError::Usage(format!(
                        "{other} is no option; --help lists them"
                    )));
                }
            }
        }
        Ok(args)
    }

    /// True if the case of that name is to be measured.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text))
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.full { 5 } else { 3 })
    }
}

pub(crate) fn number(text: &str) -> Result<usize, BenchError> {
    let parsed: Option<usize> = text.parse().ok().filter(|&number| number > 0);
    parsed.ok_or_else(|| BenchError::Usage(format!("{text:?} is no number from 1 on")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, BenchError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_any_order() {
        let args = parse("--only tcp --full --rounds 3 --json x.json").unwrap();
        assert_eq!((args.full, args.rounds()), (true, 3));
        assert_eq!(args.only, ["tcp"]);
        assert_eq!(parse("--only a --only b").unwrap().only, ["a", "b"]);
        assert_eq!(args.json, Some(PathBuf::from("x.json")));
        assert_eq!(parse("").unwrap().rounds(), 3);
        assert_eq!(parse("--full").unwrap().rounds(), 5);
    }

    #[test]
    fn wrong_options_are_named() {
        for (line, fault) in [
            ("--ful", "--ful is no option; --help lists them"),
            ("--only", "--only wants a value"),
            ("--rounds 0", "\"0\" is no number from 1 on"),
        ] {
            assert_eq!(parse(line).unwrap_err().to_string(), fault);
        }
    }
}
