//! Who sits behind the consoles of VMs that only say that they run: a login, and a few commands.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

/// What a line does to the VM, beside what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Nothing,
    Off,
    Restart,
}

/// One console's other side.
#[derive(Clone, Default)]
pub(super) struct Shell {
    line: String,
}

/// What a shell may know of its VM.
pub(super) struct Guest<'a> {
    pub name: &'a str,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub up: Duration,
}

impl Shell {
    /// A key: what the console says, and what it does to the VM.
    pub fn key(&mut self, byte: u8, guest: &Guest<'_>) -> (String, Effect) {
        match byte {
            b'\r' => {
                let line = core::mem::take(&mut self.line);
                let (said, effect) = answer(line.trim(), guest);
                let end = if effect == Effect::Nothing { "$ " } else { "" };
                (format!("\r\n{said}{end}"), effect)
            }
            3 => {
                self.line.clear();
                ("^C\r\n$ ".to_owned(), Effect::Nothing)
            }
            8 | 127 if self.line.pop().is_some() => ("\x08 \x08".to_owned(), Effect::Nothing),
            b' '..=b'~' if self.line.len() < 256 => {
                self.line.push(char::from(byte));
                (char::from(byte).to_string(), Effect::Nothing)
            }
            _ => (String::new(), Effect::Nothing),
        }
    }
}

fn answer(line: &str, guest: &Guest<'_>) -> (String, Effect) {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let Guest { name, vcpus, memory_mib, up } = guest;
    let said = match command {
        "help" => {
            "dmesg, echo, free, help, hostname, nproc, poweroff, reboot, uname, uptime, yes\r\n".to_owned()
        }
        "echo" => format!("{rest}\r\n"),
        "hostname" => format!("{name}\r\n"),
        "uname" => "Linux, or something that says so\r\n".to_owned(),
        "uptime" => format!("up {} s\r\n", up.as_secs()),
        "nproc" => format!("{vcpus}\r\n"),
        "free" => format!("Mem: {memory_mib} MiB\r\n"),
        "dmesg" => (0..40).map(|n| format!("[{n:5}.{:06}] {name}: line {n}\r\n", n * 7919)).collect(),
        "yes" => "y\r\n".repeat(500),
        "poweroff" => return ("Power down\r\n".to_owned(), Effect::Off),
        "reboot" => return ("Restarting\r\n".to_owned(), Effect::Restart),
        _ => String::new(),
    };
    (said, Effect::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_echoed_and_answered() {
        let guest = Guest { name: "web", vcpus: 2, memory_mib: 512, up: Duration::from_secs(7) };
        let mut shell = Shell::default();
        let mut said = String::new();
        let mut last = Effect::Nothing;
        for byte in b"ex\x7fcho hello\ruptime\rpoweroff\r" {
            let (text, effect) = shell.key(*byte, &guest);
            said.push_str(&text);
            last = effect;
        }
        assert_eq!(
            said,
            "ex\x08 \x08cho hello\r\nhello\r\n$ uptime\r\nup 7 s\r\n$ poweroff\r\nPower down\r\n"
        );
        assert_eq!(last, Effect::Off);
    }
}
