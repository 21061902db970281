"""Images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads may not use `latest`."""

from wit_world import exports
from wit_world.exports.skip import Answer_Pass, Answer_Skip


def label(image_use, name):
    return dict(image_use.workload.labels).get(name)


def is_prod(image_use):
    return label(image_use, "tier") == "prod"


class Skip(exports.Skip):
    def decide(self, image_use):
        if image_use.image.tag == "latest" and not is_prod(image_use):
            return Answer_Skip("only tier prod may use the tag latest")
        return Answer_Pass()


class RepositoryPrefix(exports.RepositoryPrefix):
    def render(self, image_use, target):
        team = label(image_use, "team")
        if team is None or not is_prod(image_use):
            return None
        return f"{target.prefix}/{team}" if target.prefix else team
