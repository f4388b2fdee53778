//! The report as a page of HTML.

use super::Report;

impl Report {
    /// A page.
    pub fn to_html(&self) -> String {
        String::new()
    }
}
