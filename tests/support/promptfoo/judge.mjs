// promptfoo's own verdicts: a case and an answer as JSON on each line of the input, a grade on each of the output.
import { createInterface } from 'node:readline';
import { assertions } from 'promptfoo';

for await (const line of createInterface({ input: process.stdin })) {
  const { assert, threshold, output, latencyMs, finishReason, cost, tools, logProbs } = JSON.parse(line);
  const test = { assert, threshold, vars: {} };
  let grade;
  try {
    const provider = { id: () => 'any', config: { tools } };
    const providerResponse = { output, finishReason, cost, logProbs };
    const found = await assertions.runAssertions({ test, latencyMs, provider, providerResponse });
    grade = { pass: found.pass, score: found.score, metrics: found.namedScores };
  } catch (error) {
    grade = { error: String(error.message) };
  }
  process.stdout.write(`${JSON.stringify(grade)}\n`);
}
process.exit(0);
