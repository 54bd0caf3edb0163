"""METEOR: `caption_eval.meteor.meteor.Meteor`."""
