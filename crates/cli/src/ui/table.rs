//! Tables: columns two spaces apart, no lines, readable by people and by `awk`.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

/// A table with a head; the last line ends without a line break.
pub(crate) fn table<R, C>(head: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
