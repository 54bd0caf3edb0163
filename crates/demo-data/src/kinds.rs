//! Kinds of things and their colours.

use Hue::{Black, Blue, Brown, Green, Grey, Orange, Pink, Purple, Red, White, Yellow};

use crate::canvas::Color;

/// Kind of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Ball,
    House,
    Tree,
    Car,
    Dog,
    Cat,
    Boy,
    Girl,
    Man,
    Woman,
    Tent,
    Boat,
    Balloon,
    Kite,
}

impl Kind {
    /// Returns whether it is in the air.
    pub(crate) fn flies(self) -> bool {
        matches!(self, Self::Balloon | Self::Kite)
    }

    /// Returns whether it is a person, whose colour is that of the clothes.
    pub(crate) fn is_person(self) -> bool {
        matches!(self, Self::Boy | Self::Girl | Self::Man | Self::Woman)
    }

    /// Returns its possible colours.
    #[allow(clippy::match_same_arms, reason = "one line a kind")]
    pub(crate) fn hues(self) -> &'static [Hue] {
        match self {
            Self::Ball | Self::Balloon | Self::Kite => BRIGHT,
            Self::House => &[Red, Yellow, White, Blue, Pink, Brown],
            Self::Tree => &[Green, Orange, Yellow, Red, Pink],
            Self::Car => &[Red, Blue, Yellow, White, Black, Green, Orange],
            Self::Dog => &[Brown, Black, White, Grey],
            Self::Cat => &[Orange, Black, White, Grey],
            Self::Boy | Self::Girl | Self::Man | Self::Woman => BRIGHT,
            Self::Tent => &[Red, Orange, Yellow, Green, Blue, Purple],
            Self::Boat => &[Red, Yellow, Green, White, Orange, Black],
        }
    }

    /// Returns half its width, in multiples of its height.
    #[allow(clippy::match_same_arms, reason = "one line a kind")]
    pub(crate) fn half_width(self) -> f32 {
        match self {
            Self::Ball => 0.5,
            Self::House => 0.62,
            Self::Tree => 0.38,
            Self::Car => 1.04,
            Self::Dog => 0.86,
            Self::Cat => 0.5,
            Self::Boy | Self::Girl | Self::Man | Self::Woman => 0.26,
            Self::Tent => 0.86,
            Self::Boat => 0.56,
            Self::Balloon => 0.25,
            Self::Kite => 0.33,
        }
    }

    /// Returns its height in image widths at the usual size.
    #[allow(clippy::match_same_arms, reason = "one line a kind")]
    pub(crate) fn height(self) -> f32 {
        match self {
            Self::Ball => 0.2,
            Self::House => 0.4,
            Self::Tree => 0.5,
            Self::Car => 0.2,
            Self::Dog => 0.26,
            Self::Cat => 0.28,
            Self::Boy | Self::Girl => 0.4,
            Self::Man | Self::Woman => 0.52,
            Self::Tent => 0.28,
            Self::Boat => 0.4,
            Self::Balloon => 0.34,
            Self::Kite => 0.28,
        }
    }
}

/// Named colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hue {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    White,
    Grey,
    Black,
    Brown,
}

const BRIGHT: &[Hue] = &[Red, Orange, Yellow, Green, Blue, Purple, Pink, White];

impl Hue {
    pub(crate) fn rgb(self) -> Color {
        match self {
            Red => [214.0, 38.0, 40.0],
            Orange => [242.0, 132.0, 28.0],
            Yellow => [248.0, 208.0, 42.0],
            Green => [44.0, 142.0, 62.0],
            Blue => [36.0, 90.0, 212.0],
            Purple => [126.0, 58.0, 172.0],
            Pink => [242.0, 128.0, 178.0],
            White => [246.0, 246.0, 246.0],
            Grey => [142.0, 144.0, 150.0],
            Black => [36.0, 36.0, 42.0],
            Brown => [124.0, 78.0, 44.0],
        }
    }
}
