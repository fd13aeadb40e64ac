//! What an instance of Gantry may leave on the machine: looked for by its id and its directory, so that other
//! instances don't matter.

use anyhow::ensure;
use testkit::leaks::Snapshot;

use super::house::House;

/// The name of the case.
pub(crate) const NAME: &str = "down --purge leaves nothing";

/// Takes the house down and looks.
pub(crate) fn none_left(house: House) -> anyhow::Result<()> {
    let (id, data) = (house.id()?, house.data());
    let marks = [format!("g{id}cp"), format!("gantry-{id}"), data.display().to_string()];
    let look = || Snapshot::take(&marks.each_ref().map(String::as_str));
    ensure!(
        !look().is_empty(),
        "a running instance has no traces: the search is wrong"
    );
    house.end()?;
    ensure!(!data.exists(), "{} is still there", data.display());
    let left = look();
    ensure!(left.is_empty(), "left behind: {:#?}", left.lines().collect::<Vec<_>>());
    Ok(())
}
