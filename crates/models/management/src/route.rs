//! Which operation a request asks for, who may, what it takes and gives: one table, from which the description of the
//! API is made too. What an operation does stands in [`crate::operations`].

use crate::http::Method;
use crate::http::head::decode;
use alloc::string::String;
use alloc::vec::Vec;

/// An operation's row.
#[derive(Debug)]
pub struct Route {
    /// Which.
    pub operation: Operation,
    /// Its name in the description.
    pub name: &'static str,
    /// Of the request.
    pub method: Method,
    /// Of the request; a segment `{x}` stands for any.
    pub path: &'static str,
    /// What it is good for.
    pub summary: &'static str,
}

macro_rules! routes {
    ($($name:ident: $method:ident $path:literal $summary:literal;)*) => {
        /// What can be asked for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)]
        pub enum Operation {
            $($name,)*
        }

        /// Every operation.
        pub const ROUTES: &[Route] = &[$(Route {
            operation: Operation::$name,
            name: stringify!($name),
            method: Method::$method,
            path: $path,
            summary: $summary,
        },)*];
    };
}

routes! {
    ShowRoot: Get "/api/v1" "What this is, before a login";
}

/// Where a request leads.
#[derive(Debug)]
pub enum Found {
    /// To an operation, with what stands for `{…}` in its path, decoded.
    Route(&'static Route, Vec<String>),
    /// To a path that has other methods only.
    Methods(Vec<Method>),
    /// Nowhere.
    Nothing,
}

/// Finds what a method and a path lead to. HEAD is GET without content.
pub fn find(method: Method, path: &str) -> Found {
    let wanted = if method == Method::Head { Method::Get } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        let Some(segments) = matches(route.path, path) else { continue };
        if route.method == wanted {
            return Found::Route(route, segments);
        }
        others.push(route.method);
        if route.method == Method::Get {
            others.push(Method::Head);
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::Methods(others) }
}

/// What stands for each `{…}` of a pattern; `None` where the path is another one.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut parts = path.split('/');
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.starts_with('{') {
            segments.push(decode(part).filter(|part| !part.is_empty())?);
        } else if part != wanted {
            return None;
        }
    }
    parts.next().is_none().then_some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whole_segments() {
        assert_eq!(matches("/a/{b}/c", "/a/x%2Fy/c"), Some(alloc::vec![String::from("x/y")]));
        assert_eq!(matches("/a/{b}/c", "/a/x/c/"), None);
        assert_eq!(matches("/a/{b}/c", "/a//c"), None);
        assert_eq!(matches("/a/{b}", "/a/%ff"), None);
    }

    #[test]
    fn no_row_hides_another() {
        for (index, route) in ROUTES.iter().enumerate() {
            let Found::Route(found, _) = find(route.method, route.path) else {
                panic!("{} leads nowhere", route.name)
            };
            assert_eq!(found.operation, route.operation, "row {index}");
        }
    }
}
