//! The README's own lines, taken out of it: what a newcomer pastes works as printed.

use anyhow::{Context as _, ensure};

use super::case::{Case, Stage};

pub(crate) const CASES: &[Case] = &[Case {
    name: "README",
    run: lines,
}];

/// The comment that stands before the block.
const MARK: &str = "<!-- cargo xtask clients runs these lines -->";

fn lines(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.pass.root.join("README.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lines = block(&text).context("README.md has no block of kubectl lines behind its mark")?;
    ensure!(lines.len() >= 10, "the README has {} lines of kubectl", lines.len());
    for line in lines {
        // The line that switches contexts would leave the case's namespace.
        let output = stage.sh(line)?;
        if line.starts_with("curl") {
            ensure!(output.starts_with("Hello from "), "`{line}` answers {output:?}");
        }
    }
    Ok(())
}

/// The lines of the fenced block that follows the mark.
fn block(text: &str) -> Option<Vec<&str>> {
    let (_, rest) = text.split_once(MARK)?;
    let (_, rest) = rest.split_once("```sh\n")?;
    let (block, _) = rest.split_once("```")?;
    Some(
        block
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect(),
    )
}

/// The lines of all fenced blocks behind a mark, up to the next mark.
pub(crate) fn blocks<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let Some((_, rest)) = text.split_once(mark) else {
        return Vec::new();
    };
    let part = rest.split("<!-- cargo xtask clients").next().unwrap_or_default();
    let blocks = part
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    blocks
        .flat_map(str::lines)
        .filter(|line| !line.trim().is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_block_behind_the_mark() {
        let text = format!(
            "```sh\nno\n```\n{}\n\n```sh\none\n\n# not this\ntwo\n```\nthree",
            super::MARK
        );
        assert_eq!(super::block(&text), Some(vec!["one", "two"]));
        assert_eq!(super::block("```sh\none\n```"), None);
    }

    #[test]
    fn the_readme_has_one() {
        let text = include_str!("../../../README.md");
        assert!(super::block(text).is_some_and(|lines| lines.len() >= 10));
    }
}
