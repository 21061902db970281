// Images of workloads labelled `tier: prod` go below the value of their label `team`; all others may not use `latest`.

import { log } from "k8s-copycat:policy/log@1.0.0";

// The contract knows its own errors alone: any other exception would be a trap, and its text lost.
const told = (hook) => (...question) => {
  try {
    return hook(...question);
  } catch (error) {
    throw error?.tag ? error : { tag: "internal", val: String(error) };
  }
};

// There is no console; its lines go into the program's log.
globalThis.console = { log: (...words) => log("info", words.map(String).join(" ")) };

const label = (imageUse, name) => imageUse.workload.labels.find(([key]) => key === name)?.[1];
const isProd = (imageUse) => label(imageUse, "tier") === "prod";

export const skip = {
  decide: told((imageUse) => {
    if (imageUse.image.tag === "latest" && !isProd(imageUse)) {
      return { tag: "skip", val: "the tag latest is for tier prod alone" };
    }
    return { tag: "pass" };
  }),
};

export const repositoryPrefix = {
  render: told((imageUse, target) => {
    const team = label(imageUse, "team");
    if (team === undefined || !isProd(imageUse)) return undefined;
    return target.prefix ? `${target.prefix}/${team}` : team;
  }),
};
