//! The menu of the shared serial line, from the outside: Ctrl-] lists the host log and the guests by number.
//!
//! The same bytes go over a Pi's one cable, so a person with a terminal program does what is done here.

use crate::machine::Machine;
use anyhow::{Context, Result};
use std::time::Duration;

/// Opens the menu.
pub const CTRL_RIGHT_BRACKET: u8 = 0x1d;

/// The longest that the menu may take on a loaded machine.
const MENU: Duration = Duration::from_secs(60);

/// In the first line of the host, which from there on hears what is typed: taking the UART over empties its receiver.
const BANNER: &str = "] bramble ";

/// What the menu ends with.
const PROMPT: &str = "number, Enter: ";

/// The menu in a text that has it: its streams in their order, and where it ends.
pub fn find_menu(text: &str) -> Option<(Vec<&str>, usize)> {
    let end = text.find(PROMPT)? + PROMPT.len();
    let entry = |line: &str| {
        let (number, name) = line.trim().split_once(' ')?;
        number.parse::<usize>().ok().map(|number| (number, name.trim().len()))
    };
    let lines: Vec<&str> = text[..end].lines().collect();
    let first = lines.iter().rposition(|line| entry(line).is_some_and(|(number, _)| number == 0))?;
    let names = lines[first..].iter().filter(|line| entry(line).is_some());
    Some((names.filter_map(|line| line.trim().split_once(' ')).map(|(_, name)| name.trim()).collect(), end))
}

/// The keys that select `name`: a number, and Enter where a longer number could follow.
pub fn keys_for(streams: &[&str], name: &str) -> Option<String> {
    let number = streams.iter().position(|stream| *stream == name)?;
    let enter = if number * 10 < streams.len() { "\r" } else { "" };
    Some(format!("{number}{enter}"))
}

/// Makes the line show the guest `name` (or `host log`); its ring is replayed first.
pub fn select(machine: &mut Machine, name: &str) -> Result<()> {
    if !machine.text().contains(BANNER) {
        machine.expect(BANNER, MENU).context("the host did not start")?;
    }
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    let text = machine.expect_match("the console's menu", MENU, |text| find_menu(text).map(|menu| menu.1))?;
    let streams = find_menu(&text).map(|menu| menu.0).unwrap_or_default();
    let keys =
        keys_for(&streams, name).with_context(|| format!("the console's menu has no {name}: {streams:?}"))?;
    machine.send(&keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_is_found_in_the_midst_of_output() {
        let text = "1 noise\r\n0 host log\r\n1 debian-1\r\n2 debian\r\nnumber, Enter: after";
        let (streams, end) = find_menu(text).unwrap();
        assert_eq!(streams, ["host log", "debian-1", "debian"]);
        assert_eq!(&text[end..], "after");
        assert_eq!(find_menu("0 host log\r\n1 de"), None);
    }

    #[test]
    fn enter_ends_a_number_that_could_go_on() {
        let streams = ["host log", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        assert_eq!(keys_for(&streams, "host log").unwrap(), "0\r");
        assert_eq!(keys_for(&streams, "a").unwrap(), "1\r");
        assert_eq!(keys_for(&streams, "b").unwrap(), "2");
        assert_eq!(keys_for(&streams, "k").unwrap(), "11");
        assert_eq!(keys_for(&streams[..3], "a").unwrap(), "1");
        assert_eq!(keys_for(&streams, "z"), None);
    }
}
