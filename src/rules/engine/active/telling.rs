//! What people know of an alert, and whether they are told now.
//!
//! - People are told of a problem they have not heard of, of one that got worse, and of the end of
//!   one they have heard of: a recovery of what never fired is nobody's news. That a problem got
//!   milder is shown and not told; its end will be.
//! - An alert with parents waits at most `settle` for what they are at. While they are down nobody is
//!   told of it and nothing is done; once they are up again and it still fires, it is told after
//!   `settle`. An end is never held back.
//! - An alert that [flaps](crate::rules::engine::flaps) is told once more, saying so, and then not until it is calm.
//!   What changes the world goes on: a valve must close however often it opened.

use serde::{Deserialize, Serialize};

use super::{Active, Around, Phase};
use crate::rules::engine::parents::Standing as Parents;
use crate::rules::plan::shown;
use crate::rules::{Alert, Notify, Severity, State, Transition};
use crate::sample::Timestamp;

/// What people know of an alert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::rules::engine) enum Telling {
    /// Nothing, and there is nothing to tell.
    #[default]
    Nothing,
    /// Nothing yet: it waits for what these are at.
    Waiting { until: Timestamp, parents: String },
    /// Nothing: these are down.
    HeldBack { parents: String },
    /// That it fires, with this severity.
    Told(Severity),
}

impl Telling {
    pub(super) const fn held_until(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting { until, .. } => Some(*until),
            _ => None,
        }
    }

    const fn parents(&self) -> Option<&String> {
        match self {
            Self::Waiting { parents, .. } | Self::HeldBack { parents } => Some(parents),
            Self::Nothing | Self::Told(_) => None,
        }
    }
}

impl Active {
    /// As the API shows it; inactive at rest.
    pub(in crate::rules::engine) fn shown(&self, cx: Around<'_>) -> Alert {
        Alert {
            rule: cx.rules[self.rule as usize].config.clone(),
            labels: self.labels.clone(),
            state: self.now.phase.state(),
            severity: self.now.severity,
            since: self.now.since,
            value: self.now.value,
            reason: self.now.reason.clone(),
            flapping: self.now.flaps.flapping,
            held_back_by: self.now.telling.parents().cloned(),
        }
    }

    /// Whether its parents keep people from hearing of it.
    pub(in crate::rules::engine) fn is_held(&self) -> bool {
        self.now.telling.parents().is_some()
    }

    /// What its parents are at may have changed.
    pub(in crate::rules::engine) fn look_at_parents(
        &mut self,
        cx: Around<'_>,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        let rule = &cx.rules[self.rule as usize];
        if self.asleep || self.state() != State::Firing {
            return;
        }
        match (&self.now.telling, self.parents(cx)) {
            (Telling::Waiting { .. }, Parents::Down(parents)) => {
                self.hold_back(cx, parents, at, out);
            }
            (Telling::Waiting { until, .. }, Parents::Up(Some(known)))
                if known > *until - rule.settle() =>
            {
                self.settled(cx, at, out);
            }
            (Telling::HeldBack { parents }, Parents::Up(_) | Parents::None) => {
                let (until, parents) = (at + rule.settle(), parents.clone());
                self.now.telling = Telling::Waiting { until, parents };
                self.dirty = true;
            }
            _ => {}
        }
    }

    /// It has waited long enough for what its parents are at.
    pub(super) fn settled(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        match self.parents(cx) {
            Parents::Down(parents) => self.hold_back(cx, parents, at, out),
            Parents::None | Parents::Up(_) => {
                let notify = self.tell();
                self.emit(cx, State::Firing, at, notify, out);
            }
        }
    }

    fn hold_back(
        &mut self,
        cx: Around<'_>,
        parents: String,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) {
        self.now.telling = Telling::HeldBack { parents };
        self.emit(cx, State::Firing, at, Notify::Nobody, out);
    }

    /// It may flap no more.
    pub(super) fn calm(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        // Pending and unknown are nobody's news; what comes of them is.
        let settled = matches!(self.state(), State::Firing | State::Inactive);
        if self.now.flaps.flapping && self.now.flaps.is_low() && settled {
            self.now.flaps.flapping = false;
            let at_value = self.now.value.map_or_else(String::new, |v| format!(" at {}", shown(v)));
            let percent = self.now.flaps.percent();
            self.now.reason = format!(
                "no longer flapping: {}{at_value}, {percent:.0} % of the last states changed",
                self.state()
            );
            self.calmed(cx, at, out);
        }
    }

    /// People hear how it stands, now that it is calm; unless its parents are down.
    pub(super) fn calmed(&mut self, cx: Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        let notify = if self.is_held() { Notify::Nobody } else { Notify::People };
        if notify == Notify::People {
            self.now.telling = self.fired().map_or(Telling::Nothing, Telling::Told);
        }
        self.emit(cx, self.state(), at, notify, out);
    }

    /// Heard of again after a restart; what its parents are at has to be heard of again as well.
    pub(super) fn wake(&mut self, cx: Around<'_>, at: Timestamp) {
        if std::mem::take(&mut self.asleep)
            && let Some(parents) = self.now.telling.parents().cloned()
        {
            let until = at + cx.rules[self.rule as usize].settle();
            self.now.telling = Telling::Waiting { until, parents };
        }
    }

    /// The one place where states change, and where it is decided whether people are told.
    pub(super) fn turn(
        &mut self,
        cx: Around<'_>,
        next: Phase,
        severity: Severity,
        at: Timestamp,
        reason: String,
        out: &mut Vec<Transition>,
    ) {
        let (from, before) = (self.state(), self.fired());
        self.now.phase = next;
        self.now.severity = severity;
        self.dirty = true;
        let fires = self.fired();
        if before != fires && cx.rules[self.rule as usize].flap_detection {
            self.now.flaps.note_change();
        }
        if from == self.state() && before == fires {
            return;
        }
        self.now.reason = reason;
        let notify = self.notify(cx, at);
        self.emit(cx, from, at, notify, out);
    }

    fn notify(&mut self, cx: Around<'_>, at: Timestamp) -> Notify {
        let flapping = self.now.flaps.flapping;
        let heard = if flapping { Notify::World } else { Notify::All };
        match (self.state(), &self.now.telling) {
            (State::Firing, Telling::Told(known)) if self.now.severity > *known => {
                self.now.telling = Telling::Told(self.now.severity);
                heard
            }
            (State::Firing, Telling::Told(_)) => Notify::Nobody,
            (State::Firing, _) => self.announce(cx, at),
            (State::Inactive, telling) => {
                let told = matches!(telling, Telling::Told(_));
                self.now.telling = Telling::Nothing;
                if told { heard } else { Notify::Nobody }
            }
            (State::Pending | State::Unknown, _) => Notify::Nobody,
        }
    }

    /// It fires, and nobody knows.
    fn announce(&mut self, cx: Around<'_>, at: Timestamp) -> Notify {
        let settle = cx.rules[self.rule as usize].settle();
        match self.parents(cx) {
            Parents::Down(parents) => {
                self.now.telling = Telling::HeldBack { parents };
                Notify::Nobody
            }
            Parents::Up(known) if !settle.is_zero() && known.is_none_or(|known| known <= at) => {
                let parents = cx.rules[self.rule as usize].parents_shown();
                self.now.telling = Telling::Waiting { until: at + settle, parents };
                Notify::Nobody
            }
            Parents::Up(_) | Parents::None => self.tell(),
        }
    }

    fn tell(&mut self) -> Notify {
        self.now.telling = Telling::Told(self.now.severity);
        let flaps = &mut self.now.flaps;
        if flaps.flapping {
            return Notify::World;
        }
        if flaps.is_high() {
            flaps.flapping = true;
            self.now.reason += &format!(
                "; flapping: {:.0} % of the last states changed, more is told once it is calm",
                self.now.flaps.percent()
            );
        }
        Notify::All
    }

    fn parents(&self, cx: Around<'_>) -> Parents {
        let rule = &cx.rules[self.rule as usize];
        let own = self.target.filter(|_| rule.tells_of_targets);
        let parents = rule.parents.as_ref();
        parents.map_or(Parents::None, |parents| parents.standing(cx.rules, cx.targets, own))
    }

    fn emit(
        &mut self,
        cx: Around<'_>,
        from: State,
        at: Timestamp,
        notify: Notify,
        out: &mut Vec<Transition>,
    ) {
        self.dirty = true;
        let mut alert = self.shown(cx);
        if self.now.missing.is_some() {
            alert.value = None;
        }
        out.push(Transition { alert, from, at, notify, affected: Vec::new() });
    }
}
