//! Playwright with Debian's Chromium, and hostd on this machine for it: for tests, figures and pictures.

use crate::install::{self, Need};
use crate::run::{quiet, step};
use crate::{build, web};
use anyhow::Result;
use std::process::Command;
use system::Artifacts;

/// The browser, and the two fonts of its pictures (`web/e2e/fonts.conf`).
const NEEDS: &[Need] = &[
    ("chromium", "chromium"),
    ("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf", "fonts-dejavu-core"),
    ("/usr/share/fonts/truetype/vlgothic/VL-Gothic-Regular.ttf", "fonts-vlgothic"),
];

/// Makes the README's pictures anew.
pub fn pictures(at: &Artifacts) -> Result<()> {
    let folder = at.root().join("docs/pictures");
    let browser = Browser::ready(at)?;
    step("take the README's pictures", || {
        quiet(browser.task("pictures").env("BRAMBLE_PICTURES", &folder)).map(|_| ())
    })
}

/// What is ready for it.
pub struct Browser<'a> {
    at: &'a Artifacts,
}

impl<'a> Browser<'a> {
    /// Installs, fetches and builds what is missing.
    pub fn ready(at: &'a Artifacts) -> Result<Self> {
        install::programs(NEEDS)?;
        web::modules(at)?;
        web::pack(at)?;
        step("build hostd for this machine", || {
            quiet(build::cargo(at).args(["build", "--quiet", "--package", "hostd-pc"])).map(|_| ())
        })?;
        Ok(Self { at })
    }

    /// Playwright's test runner, doing `web/e2e/NAME.task.ts`, which is no test.
    pub fn task(&self, name: &str) -> Command {
        let mut playwright = self.playwright();
        playwright.env("BRAMBLE_TASK", name);
        playwright
    }

    /// Playwright's test runner.
    pub fn playwright(&self) -> Command {
        let mut npm = web::npm(self.at);
        npm.args(["exec", "--", "playwright", "test"]);
        npm
    }
}
