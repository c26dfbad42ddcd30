/** The page calibration.md: every figure of a calibration, with its bar. */

import { judge } from '../../calibrate/bars.mjs'

const introduction = (minutes) => `# Calibration of the test of rank

Every figure below is measured by \`npm run calibrate\` over simulated data, and this page is written from its results by \`node scripts/docs/rank/pictures.mjs\`. [Rank](rank.md) says what they mean. \`npm run calibrate -- --quick\` runs small cells of every kind in under a minute; a full run goes on where it stopped. The times of all cells add up to ${minutes} minutes, on two cores that were busy with other work.`

const GROUPS = {
  'false positives': `Share of null data sets with p at most 0.05, with its 95% interval (Clopper and Pearson). The bar: no rate above 0.05 by an exact binomial test, after Holm's correction over all figures without a named exception. \`conservative\` marks rates that lie below 0.05 by the same measure. 199 draws, unless the kind says otherwise.`,
  'planted ranks': `Every planted singular value is "strength" times the 95th percentile of s_1 where nothing is planted. Ranks at plain alpha, each head a family of its own, 199 draws. The bar at strength 3: exact in 0.95 of the data sets, missed where a binomial test at 0.01 says that it is less. A test at 0.05 finds one component too many in up to 0.05, so 0.95 is also about the most that can be had. "Energy" is the median answer of the energy rule at 99%.`,
  'many heads': `Families of 1,000 heads on the same units, 200 of them with a planted rank of 1 to 3 at strengths 2 to 4; d = 16, 300 units, up to 999 draws. Figures are means over families.`,
  'rank of noise':
    'Gaussian noise, 500 units: the median answer of the energy rule at 99%, and how often the test says 0.',
  power:
    'Power of `effect` at the levels 0.05 / 0.01 / 0.001, for one planted direction; strength is a correlation (see [Rank](rank.md#how-many-prompts)).',
}

/** `machines`: those that the results name. `seconds`: what all cells took. */
export function calibrationPage(done, machines, seconds) {
  const rows = judge(done)
  const sections = Object.entries(GROUPS).map(([group, words]) => {
    const own = rows.filter((row) => row.group === group)
    if (own.length === 0) {
      return ''
    }
    const table = [
      ['cell', 'figure', 'verdict'],
      ['---', '---', '---'],
      ...own.map(({ name, figure, missed, note }) => [
        name.replace(`${group}/`, ''),
        figure,
        `${missed ? '**missed** ' : ''}${note}`,
      ]),
    ]
    return `## ${group[0].toUpperCase()}${group.slice(1)}\n\n${words}\n\n${table.map((row) => `| ${row.join(' | ')} |`).join('\n')}`
  })
  const measuredOn = machines.map(({ cpu, cores, memoryGiB, system, instructionSet, versions }) => {
    const parts = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
    return `- ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${system}, ${instructionSet}; ${parts.join(', ')}`
  })
  const missed = rows.filter((row) => row.missed).length
  const verdict =
    missed === 0 ? 'No figure misses its bar.' : `${missed} of ${rows.length} figures miss their bar.`
  return `${[introduction(Math.round(seconds / 60)), `Measured on:\n\n${measuredOn.join('\n')}`, verdict, ...sections].join('\n\n')}\n`
}
