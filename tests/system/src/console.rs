//! The menu of the shared serial line, from the outside: Ctrl-] lists the host log and the guests by number.
//!
//! The same bytes go over a Pi's one cable, so a person with a terminal program does what is done here.

use crate::machine::Machine;
use anyhow::Result;
use std::time::Duration;

/// Opens the menu.
pub const CTRL_RIGHT_BRACKET: u8 = 0x1d;

/// The longest that the menu may take on a loaded machine.
const MENU: Duration = Duration::from_secs(60);

/// Finds the number of `name` in the text of a menu: a line of number, blanks and the name. Also returns where the
/// line ends, and whether a number must be closed with Enter (there are two digits on the menu).
pub fn find_in_menu(text: &str, name: &str) -> Option<(u32, usize)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let mut words = line.trim().splitn(2, char::is_whitespace);
        let number = words.next().and_then(|word| word.trim_matches(['[', ']', ')', '.']).parse().ok());
        let same = |rest: &str| rest == name || rest.strip_prefix(name).is_some_and(|r| r.starts_with("  "));
        if let (Some(number), true) = (number, line.ends_with('\n'))
            && words.next().map(str::trim).is_some_and(same)
        {
            return Some((number, at));
        }
    }
    None
}

/// The keys that select stream `number` of a menu with `guests` guests.
pub fn selection(number: u32) -> String {
    if number < 10 { number.to_string() } else { format!("{number}\r") }
}

/// Makes the line show the guest `name` (or `host log`); its ring is replayed first.
pub fn select(machine: &mut Machine, name: &str) -> Result<()> {
    machine.send_bytes(&[CTRL_RIGHT_BRACKET])?;
    let what = format!("{name} on the console menu");
    let menu = machine.expect_match(&what, MENU, |text| find_in_menu(text, name).map(|found| found.1))?;
    if let Some((number, _)) = find_in_menu(&menu, name) {
        machine.send(&selection(number))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_its_whole_line() {
        let menu = "noise\r\n  0 host log\r\n  1 debian-1\r\n  2 debian\r\n 12 far\r\n";
        assert_eq!(find_in_menu(menu, "debian").map(|found| found.0), Some(2));
        assert_eq!(find_in_menu(menu, "host log").map(|found| found.0), Some(0));
        assert_eq!(find_in_menu(menu, "far"), Some((12, menu.len())));
        assert_eq!(find_in_menu(menu, "deb"), None);
        assert_eq!(find_in_menu("  1 debi", "debi"), None, "the line is not whole yet");
        assert_eq!(selection(3), "3");
        assert_eq!(selection(12), "12\r");
    }
}
