//! The daemon as the API shows it.

use std::collections::HashSet;

use super::{Arc, Board, Config, Daemon, Handle, PoisonError, RwLock};
use crate::actions::{ActionBoard, ActionStatus};
use crate::api::{RuleView, TargetView, Wait};
use crate::config::Named;
use crate::rules::explain::{Explanation, Question};
use crate::rules::{Alert, RuleConfig};

/// Looks at the daemon and changes nothing.
#[derive(Debug)]
pub(super) struct View {
    config: RwLock<Arc<Config>>,
    board: Board,
    actions: ActionBoard,
    pipeline: Handle,
}

impl View {
    pub(super) fn new(
        config: Arc<Config>,
        board: Board,
        actions: ActionBoard,
        pipeline: Handle,
    ) -> Self {
        Self { config: RwLock::new(config), board, actions, pipeline }
    }

    /// The configuration that runs.
    pub(super) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

impl Daemon for View {
    fn targets(&self) -> Vec<TargetView> {
        let view = |snapshot: crate::supervisor::Snapshot| TargetView {
            target: snapshot.target,
            up: snapshot.state.up,
            error: snapshot.state.last_error.map(|error| *error),
            last_poll: snapshot.state.last_poll,
            took: snapshot.state.last_duration,
        };
        self.board.snapshots().into_iter().map(view).collect()
    }

    async fn alerts(&self) -> Option<Vec<Alert>> {
        self.pipeline.alerts().await
    }

    async fn explain(&self, question: Question) -> Option<Option<Explanation>> {
        self.pipeline.explain(question).await
    }

    fn rules(&self) -> Vec<RuleView> {
        let config = self.config();
        let view = |rule: &Arc<Named<RuleConfig>>| RuleView {
            rule: rule.clone(),
            file: config.rule_files.get(&rule.name).cloned().unwrap_or_default(),
        };
        config.rules.iter().map(view).collect()
    }

    fn actions(&self) -> Vec<ActionStatus> {
        self.actions.status()
    }

    async fn waits_for(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        if self.pipeline.alerts().await.is_none() {
            waits.push(Wait { what: "engine".into(), why: "it does not answer".into() });
        }
        let config = self.config();
        let started: HashSet<_> =
            self.board.snapshots().iter().map(|snapshot| snapshot.target.id()).collect();
        let missing = config.targets.iter().map(|target| target.id());
        let missing = missing.filter(|id| !started.contains(id));
        waits.extend(missing.map(|what| Wait { what, why: "not started yet".into() }));
        waits
    }
}
