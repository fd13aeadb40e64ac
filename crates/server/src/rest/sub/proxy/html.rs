//! Links in a proxied page: those that begin at the proxied server's root would lead past the proxy, so they get the
//! proxy's path before theirs. Everything else stays as it is, to the byte.

/// Which attributes of which elements are addresses (HTML 4 and 5).
const ADDRESSES: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// A page with its addresses changed; `change` gives none for one that is to stay.
pub(super) fn rewrite(page: &[u8], change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len() + 1024);
    let mut at = 0;
    while let Some(open) = find(page, at, b"<") {
        let rest = &page[open..];
        let end = if rest.starts_with(b"<!--") {
            find(page, open, b"-->").map(|end| end + 3)
        } else if rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
            out.extend_from_slice(&page[at..open]);
            let (name, end) = tag(page, open, &change, &mut out);
            at = match RAW.contains(&name.as_str()) {
                true => raw_end(page, end, &name),
                false => end,
            };
            out.extend_from_slice(&page[end..at]);
            continue;
        } else {
            Some(open + 1)
        };
        let end = end.unwrap_or(page.len());
        out.extend_from_slice(&page[at..end]);
        at = end;
    }
    out.extend_from_slice(&page[at..]);
    out
}

/// Copies a start tag; its name, and where it ends.
fn tag(page: &[u8], open: usize, change: &impl Fn(&str) -> Option<String>, out: &mut Vec<u8>) -> (String, usize) {
    let is_end = |byte: u8| byte == b'>';
    let mut at = until(page, open + 1, |byte| {
        byte.is_ascii_whitespace() || byte == b'/' || is_end(byte)
    });
    let name = String::from_utf8_lossy(&page[open + 1..at]).to_ascii_lowercase();
    let known = ADDRESSES.iter().find(|(element, _)| *element == name);
    let mut copied = open;
    loop {
        at = until(page, at, |byte| !byte.is_ascii_whitespace() && byte != b'/');
        if at >= page.len() || is_end(page[at]) {
            break;
        }
        let start = at;
        at = until(page, at + 1, |byte| {
            byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/') || is_end(byte)
        });
        let attribute = String::from_utf8_lossy(&page[start..at]).to_ascii_lowercase();
        let equals = until(page, at, |byte| !byte.is_ascii_whitespace());
        if page.get(equals) != Some(&b'=') {
            continue;
        }
        let (from, to, next) = value(page, equals + 1);
        at = next;
        let is_address = known.is_some_and(|(_, attributes)| attributes.contains(&attribute.as_str()));
        let written = std::str::from_utf8(&page[from..to]).ok().filter(|_| is_address);
        if let Some(changed) = written.and_then(change) {
            out.extend_from_slice(&page[copied..from]);
            out.extend_from_slice(changed.as_bytes());
            copied = to;
        }
    }
    let end = (at + 1).min(page.len());
    out.extend_from_slice(&page[copied..end]);
    (name, end)
}

/// Where an attribute's value begins and ends, without its quotes, and what comes after it.
fn value(page: &[u8], after_equals: usize) -> (usize, usize, usize) {
    let start = until(page, after_equals, |byte| !byte.is_ascii_whitespace());
    match page.get(start) {
        Some(quote @ (b'"' | b'\'')) => {
            let end = until(page, start + 1, |byte| byte == *quote);
            (start + 1, end, (end + 1).min(page.len()))
        }
        _ => {
            let end = until(page, start, |byte| byte.is_ascii_whitespace() || byte == b'>');
            (start, end, end)
        }
    }
}

/// Where the end tag of an element begins whose content is no markup.
fn raw_end(page: &[u8], from: usize, name: &str) -> usize {
    let wanted = format!("</{name}");
    let mut at = from;
    while let Some(found) = find(page, at, b"</") {
        let found_tag = page.get(found..found + wanted.len());
        if found_tag.is_some_and(|tag| tag.eq_ignore_ascii_case(wanted.as_bytes())) {
            return found;
        }
        at = found + 2;
    }
    page.len()
}

fn find(page: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let found = page
        .get(from..)?
        .windows(wanted.len())
        .position(|window| window == wanted);
    found.map(|found| from + found)
}

fn until(page: &[u8], from: usize, is_it: impl Fn(u8) -> bool) -> usize {
    let rest = page.get(from..).unwrap_or_default();
    from.min(page.len()) + rest.iter().position(|byte| is_it(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(page: &str) -> String {
        let change = |to: &str| to.starts_with('/').then(|| format!("/proxy{to}"));
        String::from_utf8(rewrite(page.as_bytes(), change)).unwrap()
    }

    #[test]
    fn addresses_are_changed_and_nothing_else() {
        for (page, expected) in [
            (
                "<a href=\"/rewriteme\">test</a>",
                "<a href=\"/proxy/rewriteme\">test</a>",
            ),
            (
                "<A class=x HREF='/a?b=1&amp;c=2' >",
                "<A class=x HREF='/proxy/a?b=1&amp;c=2' >",
            ),
            (
                "<img src=/a.png><img src = \"b.png\"/>",
                "<img src=/proxy/a.png><img src = \"b.png\"/>",
            ),
            (
                "<script src=\"/x.js\">if (a < b) '<a href=\"/no\">'</SCRIPT><link href=/y>",
                "<script src=\"/proxy/x.js\">if (a < b) '<a href=\"/no\">'</SCRIPT><link href=/proxy/y>",
            ),
            (
                "<!-- <a href=\"/no\"> --><p title=\"/no\">1 < 2</p>",
                "<!-- <a href=\"/no\"> --><p title=\"/no\">1 < 2</p>",
            ),
            (
                "<input disabled src=\"/a\" usemap=/b>",
                "<input disabled src=\"/proxy/a\" usemap=/proxy/b>",
            ),
            ("<a href=\"/open", "<a href=\"/proxy/open"),
            ("<a", "<a"),
            ("<", "<"),
            ("text", "text"),
        ] {
            assert_eq!(rewritten(page), expected);
        }
    }
}
