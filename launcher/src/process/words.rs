//! Telling what `mpirun` says from what the ranks say: both come on its standard error.
//!
//! Guarantee: a line of a rank is passed on at once and never kept. What `mpirun` adds by itself, when ranks end, is kept:
//! it is twenty lines that hide the one that says why.

/// Lines that a framed text has at most; a longer one is no text of `mpirun`'s.
const LONGEST: usize = 80;
/// Dashes that make a frame.
const FRAME: usize = 60;

/// Sorts lines.
#[derive(Debug, Default)]
pub(crate) struct Words {
    kept: Vec<String>,
    /// Where the text that is not closed yet begins.
    open: Option<usize>,
    explained: bool,
    saved: bool,
}

impl Words {
    /// Takes the next line and gives back what is to be shown now.
    pub(crate) fn take(&mut self, line: String) -> Vec<String> {
        if is_ours(&line) {
            self.explained |= line.starts_with("error: ");
            self.saved |= line.starts_with("error: ") && line.contains(": the run is saved in ");
            return vec![line];
        }
        let frame = line.len() >= FRAME && line.bytes().all(|byte| byte == b'-');
        match self.open {
            Some(_) if frame => self.open = None,
            Some(start) if self.kept.len() - start >= LONGEST => {
                self.open = None;
                let mut shown = self.kept.split_off(start);
                shown.push(line);
                return shown;
            }
            Some(_) => {}
            None if frame => self.open = Some(self.kept.len()),
            None if is_unframed(&line) => {}
            None => return vec![line],
        }
        self.kept.push(line);
        Vec::new()
    }

    /// Whether one of our own messages said why the run ended.
    pub(crate) fn explained(&self) -> bool {
        self.explained
    }

    /// Whether one of our own messages said that the run was saved before it ended.
    pub(crate) fn saved(&self) -> bool {
        self.saved
    }

    /// What `mpirun` said.
    pub(crate) fn kept(&self) -> String {
        self.kept.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// The rank that a signal ended, as `mpirun` tells it: rank, host, signal.
    pub(crate) fn signalled(&self) -> Option<(String, String, String)> {
        let text = self.kept.join(" ");
        let (_, text) = text.split_once("noticed that process rank ")?;
        let rank = text.split(' ').next()?.to_owned();
        let (_, text) = text.split_once(" on node ")?;
        let (host, text) = text.split_once(" exited on signal ")?;
        let (signal, _) = text.split_once(").")?;
        Some((rank, host.to_owned(), format!("{signal})")))
    }
}

/// A message or a line of the log of one of our ranks.
fn is_ours(line: &str) -> bool {
    let dated = line.len() > 11
        && line.as_bytes()[..11].iter().zip(b"0000-00-00T").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        });
    dated || line.starts_with("error: ") || line.starts_with("  caused by: ")
}

/// Lines of `mpirun` and of the MPI library without a frame: `mpirun: Forwarding…`, `[host:123] …`.
fn is_unframed(line: &str) -> bool {
    if line.starts_with("mpirun: ") || line.starts_with("orterun: ") {
        return true;
    }
    let inside = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let process = inside.and_then(|(inside, _)| inside.rsplit_once(':'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    process.is_some_and(|(host, id)| host.contains(char::is_alphabetic) && is_number(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "--------------------------------------------------------------------------";

    fn shown(words: &mut Words, lines: &[&str]) -> Vec<String> {
        lines.iter().flat_map(|line| words.take((*line).to_owned())).collect()
    }

    #[test]
    fn a_run_that_was_saved_is_known_from_its_message() {
        let mut words = Words::default();
        shown(&mut words, &["error: rank 1: step 3: the store is gone"]);
        assert!(words.explained() && !words.saved());
        shown(&mut words, &["error: SIGTERM at step 9: the run is saved in /run; continue it with --resume"]);
        assert!(words.saved());
    }

    #[test]
    fn what_mpirun_adds_is_kept_and_what_ranks_say_is_shown() {
        let mut words = Words::default();
        let lines = [
            "2026-01-31T10:00:00.000000Z  INFO resuming after step 4",
            "error: rank 1: step 3: the store is gone",
            "  caused by: no such file",
            RULE,
            "Primary job  terminated normally, but 1 process returned",
            "a non-zero exit code. Per user-direction, the job has been aborted.",
            RULE,
            "[node1:4711] 3 more processes have sent help message",
            "mpirun: Forwarding signal 10 to job",
            "Traceback (most recent call last):",
        ];
        let expected = [lines[0], lines[1], lines[2], lines[9]];
        assert_eq!(shown(&mut words, &lines), expected);
        assert!(words.explained());
        assert_eq!(words.kept().lines().collect::<Vec<_>>(), lines[3..9]);
    }

    #[test]
    fn a_rank_that_a_signal_ended_is_found() {
        let mut words = Words::default();
        let lines = [
            RULE,
            "mpirun noticed that process rank 1 with PID 4711 on node node-2 exited on signal 9 (Killed).",
            RULE,
        ];
        assert!(shown(&mut words, &lines).is_empty());
        let found = words.signalled().unwrap();
        assert_eq!(found, ("1".to_owned(), "node-2".to_owned(), "9 (Killed)".to_owned()));
        assert!(!words.explained());
    }

    #[test]
    fn a_rule_that_a_program_draws_holds_its_output_back_for_a_while_only() {
        let mut words = Words::default();
        let mut lines = vec![RULE];
        lines.resize(LONGEST + 1, "a table");
        let expected = lines.len();
        assert_eq!(shown(&mut words, &lines).len(), expected);
        assert_eq!(shown(&mut words, &["more"]), ["more"]);
    }

    #[test]
    fn brackets_alone_are_not_mpirun() {
        assert!(is_unframed("[node1:4711] *** An error occurred"));
        assert!(!is_unframed("[1, 2] a list"));
        assert!(!is_unframed("[12:30] a time of the day"));
    }
}
