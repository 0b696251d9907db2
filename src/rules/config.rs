//! A rule as it is written.

use crate::config::Located;
use crate::config::read::{Context, FromTable, Node, Table};

crate::config! {
    /// Stub.
    pub struct RuleConfig {
        /// Actions told when it fires.
        pub actions: Vec<Located<String>>,
        /// Actions told when it clears.
        pub on_clear: Option<Vec<Located<String>>>,
    }
}

impl RuleConfig {
    /// Reads `[rule.NAME]`.
    pub(crate) fn read(node: &Node<'_>, shown: &str, cx: &mut Context<'_>) -> Option<Self> {
        let mut table = Table::new(node, shown, cx)?;
        let read = Self::from_table(&mut table);
        table.finish();
        read
    }

    /// The names of the actions it has.
    pub fn action_names(&self) -> impl Iterator<Item = &Located<String>> {
        self.actions.iter().chain(self.on_clear.iter().flatten())
    }
}
