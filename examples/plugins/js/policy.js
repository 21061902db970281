// Images of workloads labelled `tier: prod` go below the value of their label `team`; all others may not use `latest`.

const label = (imageUse, name) => imageUse.workload.labels.find(([key]) => key === name)?.[1];
const isProd = (imageUse) => label(imageUse, "tier") === "prod";

export const skip = {
  decide(imageUse) {
    if (imageUse.image.tag === "latest" && !isProd(imageUse)) {
      return { tag: "skip", val: "the tag latest is for tier prod alone" };
    }
    return { tag: "pass" };
  },
};

export const repositoryPrefix = {
  render(imageUse, target) {
    const team = label(imageUse, "team");
    if (team === undefined || !isProd(imageUse)) return undefined;
    return target.prefix ? `${target.prefix}/${team}` : team;
  },
};
