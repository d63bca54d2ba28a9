//! The table of settings. A setting is a row of one of its parts; its value lives in [`Settings`](super::Settings).

mod gateway;
mod log;
mod stack;

use super::setting::Setting;

/// Every setting, by section.
pub(crate) static TABLE: &[Setting] = &{
    const PARTS: [&[Setting]; 3] = [stack::SETTINGS, gateway::SETTINGS, log::SETTINGS];
    let mut all = [PARTS[0][0]; PARTS[0].len() + PARTS[1].len() + PARTS[2].len()];
    let (mut part, mut row, mut at) = (0, 0, 0);
    while at < all.len() {
        if row == PARTS[part].len() {
            (part, row) = (part + 1, 0);
        }
        all[at] = PARTS[part][row];
        (row, at) = (row + 1, at + 1);
    }
    all
};
