// Images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads may not use `latest`.

import { log } from "k8s-copycat:policy/log@1.0.0";

// The contract defines its own errors only: any other exception would be a trap, and its text would be lost.
const reportErrors = (hook) => (...question) => {
  try {
    return hook(...question);
  } catch (error) {
    throw error?.tag ? error : { tag: "internal", val: String(error) };
  }
};

// There is no console: write its lines to the program's log.
globalThis.console = { log: (...words) => log("info", words.map(String).join(" ")) };

const label = (imageUse, name) => imageUse.workload.labels.find(([key]) => key === name)?.[1];
const isProd = (imageUse) => label(imageUse, "tier") === "prod";

export const skip = {
  decide: reportErrors((imageUse) => {
    if (imageUse.image.tag === "latest" && !isProd(imageUse)) {
      return { tag: "skip", val: "only tier prod may use the tag latest" };
    }
    return { tag: "pass" };
  }),
};

export const repositoryPrefix = {
  render: reportErrors((imageUse, target) => {
    const team = label(imageUse, "team");
    if (team === undefined || !isProd(imageUse)) return undefined;
    return target.prefix ? `${target.prefix}/${team}` : team;
  }),
};
