//! The web UI: the files of one pack, compressed when it was built, and what browsers are told with them.
//!
//! Called by: [`crate::serve()`] for a path that no operation has. The pack is made by `web/scripts/pack.mjs`:
//!
//! | bytes | what |
//! |---|---|
//! | [`MAGIC`] and a line feed | |
//! | a line for each file | path, type, tag and length, with tabs between them |
//! | an empty line | |
//! | the files | in the lines' order, by Brotli (RFC 7932), each as long as its line says |
//!
//! A path without a dot in its last segment, which no file has, is the page's own: it is given `index.html`, so that links
//! into the UI hold. Pure.

use crate::http::{Content, Head, Method, Response};
use crate::problem::Problem;
use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;

/// The first line of a pack.
pub const MAGIC: &str = "bramble-web 1";
/// The page.
const INDEX: &str = "/index.html";
/// Names here have the hash of what they hold, by the bundler.
const HASHED: &str = "/assets/";
/// What the API's are, which are no pages.
const NO_PAGES: &[&str] = &["/api", "/metrics"];

/// What a page may load, and from where: scripts, styles, fonts, pictures and connections of this host, nothing inline,
/// nothing from elsewhere, and into no frame (CSP Level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The files; none where hostd was built without.
#[derive(Default)]
pub struct Web {
    files: Vec<File>,
}

#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    kind: &'static str,
    tag: &'static str,
    content: &'static [u8],
}

impl Web {
    /// The files of a pack; an empty one has none. `None`: it is no pack.
    pub fn open(pack: &'static [u8]) -> Option<Self> {
        if pack.is_empty() {
            return Some(Self::default());
        }
        let end = pack.windows(2).position(|bytes| bytes == b"\n\n")?;
        let (lines, mut rest) = pack.split_at_checked(end.checked_add(2)?)?;
        let mut lines = core::str::from_utf8(lines).ok()?.trim_end().lines();
        if lines.next() != Some(MAGIC) {
            return None;
        }
        let mut files = Vec::new();
        for line in lines {
            let mut fields = line.split('\t');
            let [path, kind, tag, length] = [(); 4].map(|()| fields.next().unwrap_or_default());
            let (content, after) = rest.split_at_checked(length.parse().ok()?)?;
            files.push(File { path, kind, tag, content });
            rest = after;
        }
        rest.is_empty().then_some(Self { files })
    }

    /// Answers a request for what no operation has; `None`: it is not here either.
    pub fn answer(&self, head: &Head) -> Option<Result<Response, Problem>> {
        let file = self.find(&head.path)?;
        Some(match head.method {
            Method::Get | Method::Head => file.response(head),
            _ => {
                let detail = "the web UI's files are only read";
                let problem =
                    Problem::new(405, "method-not-allowed", detail, "use GET; the API is at /api/v1");
                Ok(Response::from(problem).header("Allow", "GET, HEAD"))
            }
        })
    }

    fn find(&self, path: &str) -> Option<File> {
        let named = |name: &str| self.files.iter().find(|file| file.path == name).copied();
        let is_page = || {
            let under = |root: &&str| {
                path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            !NO_PAGES.iter().any(under) && !path.rsplit('/').next().unwrap_or_default().contains('.')
        };
        named(path).or_else(|| is_page().then(|| named(INDEX)).flatten())
    }
}

impl File {
    fn response(&self, head: &Head) -> Result<Response, Problem> {
        let tag = format!("\"{}\"", self.tag);
        let seen = head.header("if-none-match").unwrap_or_default();
        let is_known = seen.split(',').any(|seen| seen.trim().trim_start_matches("W/") == tag);
        let response = match is_known {
            true => Response::empty(304),
            false if takes_brotli(head) => {
                let content = Content::Bytes(Cow::Borrowed(self.content));
                Response::with(200, self.kind, content).header("Content-Encoding", "br")
            }
            false => {
                let remedy = "send Accept-Encoding: br, as browsers do over TLS";
                return Err(Problem::new(406, "only-brotli", "the web UI is kept as Brotli only", remedy));
            }
        };
        let keep =
            if self.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        Ok(response
            .header("Cache-Control", keep)
            .header("ETag", tag)
            .header("Vary", "Accept-Encoding")
            .header("Content-Security-Policy", POLICY)
            .header("Cross-Origin-Opener-Policy", "same-origin")
            .header("Permissions-Policy", "camera=(), geolocation=(), microphone=()"))
    }
}

/// Whether the client takes Brotli (RFC 9110, 12.5.3 "Accept-Encoding").
fn takes_brotli(head: &Head) -> bool {
    head.header("accept-encoding").unwrap_or_default().split(',').any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let is_zero =
            weight.trim().strip_prefix("q=").is_some_and(|q| q.bytes().all(|digit| b"0.".contains(&digit)));
        (name.trim().eq_ignore_ascii_case("br") || name.trim() == "*") && !is_zero
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: &[u8] =
        b"bramble-web 1\n/index.html\ttext/html\tt1\t4\n/assets/a-1.js\ttext/javascript\tt2\t3\n\nPAGEJS!";

    fn path_of(web: &Web, path: &str) -> Option<&'static str> {
        web.find(path).map(|file| file.path)
    }

    #[test]
    fn a_pack_is_read() {
        let web = Web::open(PACK).unwrap();
        let contents: Vec<&[u8]> = web.files.iter().map(|file| file.content).collect();
        assert_eq!(contents, [b"PAGE".as_slice(), b"JS!"]);
        assert!(Web::open(b"").unwrap().files.is_empty());
    }

    #[test]
    fn what_is_no_pack_is_refused() {
        for end in 1..PACK.len() {
            assert!(Web::open(&PACK[..end]).is_none(), "{end}");
        }
        for pack in [
            "bramble-web 2\n/a\tb\tc\t0\n\n",
            "bramble-web 1\n/a\tb\tc\t-1\n\n",
            "bramble-web 1\n/a\n\n",
            "bramble-web 1\n\nrest",
        ] {
            assert!(Web::open(pack.as_bytes()).is_none(), "{pack:?}");
        }
    }

    #[test]
    fn links_into_the_page_are_its_own_and_nothing_else_is() {
        let web = Web::open(PACK).unwrap();
        for path in ["/", "/index.html", "/vms", "/vms/web%2E/console", "/a.b/c", "/apiary"] {
            assert_eq!(path_of(&web, path), Some(INDEX), "{path}");
        }
        assert_eq!(path_of(&web, "/assets/a-1.js"), Some("/assets/a-1.js"));
        for path in
            ["/assets/a-2.js", "/favicon.ico", "/api", "/api/v2", "/api/v1/nothing", "/metrics", "/metrics/x"]
        {
            assert_eq!(path_of(&web, path), None, "{path}");
        }
        assert_eq!(path_of(&Web::default(), "/"), None);
    }

    #[test]
    fn the_policy_has_no_way_around_it() {
        for hole in ["unsafe", "*", "http:", "https:", "blob:", "data:"] {
            assert!(!POLICY.contains(hole), "{hole}");
        }
    }
}
