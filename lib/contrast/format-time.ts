/** Python's strftime in UTC and in English, as far as chat templates use it. */

const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

/** Unknown directives stay unchanged. */
export function formatTime(date: Date, format: string): string {
  const two = (n: number) => `${n}`.padStart(2, '0')
  const month = MONTHS[date.getUTCMonth()]
  const day = DAYS[date.getUTCDay()]
  const parts: Record<string, string> = {
    '%Y': `${date.getUTCFullYear()}`,
    '%y': two(date.getUTCFullYear() % 100),
    '%m': two(date.getUTCMonth() + 1),
    '%d': two(date.getUTCDate()),
    '%B': month,
    '%b': month.slice(0, 3),
    '%A': day,
    '%a': day.slice(0, 3),
    '%H': two(date.getUTCHours()),
    '%M': two(date.getUTCMinutes()),
    '%S': two(date.getUTCSeconds()),
    '%%': '%',
  }
  return format.replace(/%[A-Za-z%]/g, (directive) => parts[directive] ?? directive)
}
